"""What pruning refuses before it starts: arguments that are wrong, models without a weight to lose.

Checks only; nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from torch import nn

from lightning_prune.allocations import Allocation
from lightning_prune.cost import Of
from lightning_prune.criteria import Criterion
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Granularity
from lightning_prune.names import plain_name
from lightning_prune.patterns import check_patterns


def check_arguments(
    sparsity: float,
    *,
    criterion: Criterion,
    granularity: Granularity,
    allocation: Allocation,
    of: Of,
    include: Sequence[str] | None,
    exclude: Sequence[str],
) -> None:
    """Refuse arguments that are wrong by themselves.

    Raises:
        ValueError: if ``sparsity`` is outside [0, 1), or ``of`` is none of its words.
        TypeError: if an argument is of another type, a single string instead of patterns among
            them.
    """
    if not isinstance(sparsity, (int, float)) or not 0.0 <= sparsity < 1.0:
        kind = ValueError if isinstance(sparsity, (int, float)) else TypeError
        raise kind(
            f"Expected `sparsity` to be a fraction in [0, 1), but got {sparsity!r}. It is the "
            "share removed in the end, not the share kept."
        )
    check_kind("criterion", criterion, Criterion)
    check_kind("granularity", granularity, Granularity)
    check_kind("allocation", allocation, Allocation)
    if of not in get_args(Of):
        raise ValueError(
            f"Expected `of` to be one of {', '.join(get_args(Of))}, but got {of!r}. It says what "
            "the sparsity is a fraction of."
        )
    _check_list("include", () if include is None else include)
    _check_list("exclude", exclude)


def check_kind(argument: str, value: object, kind: type) -> None:
    """Refuse what is no object of ``kind``: its class, say, or its name.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        kind: the base class of what is expected.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, kind):
        raise TypeError(
            f"Expected `{argument}` to be an object of {kind.__name__}, but got {value!r}. "
            "Pass an object, not a class or a name; names alone work in a configuration file only."
        )


def _check_list(argument: str, patterns: object) -> None:
    """Refuse patterns that are no list of strings.

    Raises:
        TypeError: if they are none.
    """
    if isinstance(patterns, str):
        cure = f"Write [{patterns!r}]."
    elif isinstance(patterns, Sequence) and all(isinstance(one, str) for one in patterns):
        return
    else:
        cure = "Write each as a string; for none, leave the argument out."
    raise TypeError(
        f"Expected `{argument}` to be a list of glob patterns, but got {patterns!r}. {cure}"
    )


def check_model(model: nn.Module, include: Sequence[str] | None, exclude: Sequence[str]) -> None:
    """Refuse patterns that name no module, and a model without a trainable parameter.

    Raises:
        ValueError: if a pattern names no module.
        TargetError: if every parameter is frozen.
    """
    names = [plain_name(name) for name, module in model.named_modules()]
    check_patterns("include", include or (), names)
    check_patterns("exclude", exclude, names)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TargetError(
            f"Expected `{type(model).__name__}` to have trainable parameters, but got none. "
            "Unfreeze what should be pruned (`requires_grad_(True)`)."
        )
