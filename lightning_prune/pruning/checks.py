"""What pruning refuses before it starts: arguments that are wrong, models without a weight to lose.

Checks only; nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lightning_prune.errors import TargetError
from lightning_prune.names import plain_name
from lightning_prune.patterns import check_patterns


def check_arguments(sparsity: float, include: Sequence[str] | None, exclude: Sequence[str]) -> None:
    """Refuse arguments that are wrong by themselves.

    Raises:
        ValueError: if ``sparsity`` is outside [0, 1).
        TypeError: if patterns are a single string.
    """
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(
            f"Expected `sparsity` to be a fraction in [0, 1), but got {sparsity}. It is the share "
            "removed in the end, not the share kept."
        )
    for argument, patterns in (("include", include), ("exclude", exclude)):
        if isinstance(patterns, str):
            raise TypeError(
                f"Expected `{argument}` to be a list of glob patterns, but got {patterns!r}. "
                f"Write [{patterns!r}]."
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
