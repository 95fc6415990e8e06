"""Numbers: other numbers for the arguments of a model that are numbers of Python.

Whole numbers may be sizes: dimensions that are as long change with them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch.utils._pytree import tree_leaves, tree_map

from lightning_prune.compaction.verification.sizes import Place, resized
from lightning_prune.modules.inputs import ExampleInputs

_CHANGES: tuple[Callable[[int], int], ...] = (lambda n: n + 1, lambda n: 2 * n, lambda n: n - 1)


def has_numbers(inputs: ExampleInputs, kind: type[int] | type[float]) -> bool:
    """Tell whether an argument is, or holds, a number of exactly this type; True is none."""
    return any(type(leaf) is kind for leaf in tree_leaves((inputs.args, inputs.kwargs)))


def with_other_reals(inputs: ExampleInputs) -> ExampleInputs:
    """Return the same tensors with other real numbers, none of which is zero."""
    return _changed(inputs, _other, float)


def with_other_integers(inputs: ExampleInputs) -> list[ExampleInputs]:
    """Return inputs with other whole numbers, with and without the sizes that may go with them."""
    found: list[ExampleInputs] = []
    given = [n for n in tree_leaves((inputs.args, inputs.kwargs)) if type(n) is int]
    for change in _CHANGES:
        made = _changed(inputs, change, int)
        sizes = {n: change(n) for n in given}
        if len(given) > 1:  # height and width, of whose product there are positions
            sizes.setdefault(math.prod(given), math.prod(map(change, given)))
        places = {
            Place(index, dim): sizes[size]
            for index, tensor in enumerate(inputs.tensors)
            for dim, size in enumerate(tensor.shape)
            if sizes.get(size, 0) > 0
        }
        found += [resized(made, places), made] if places else [made]
    return found


def with_other_defaults(forward: Callable[..., Any], inputs: ExampleInputs) -> list[ExampleInputs]:
    """Return calls with other numbers where arguments that are left out have some as a default.

    Args:
        forward: what is called with the inputs.
        inputs: the example.
    """
    try:
        signature = inspect.signature(forward)
        given = signature.bind_partial(*inputs.args, **inputs.kwargs).arguments
    except (TypeError, ValueError):  # a function without a signature
        return []
    named = [p for p in signature.parameters.values() if p.kind is not p.POSITIONAL_ONLY]
    left_out = [p for p in named if p.name not in given]
    found = []
    for kinds in ((float, int), (float,)):
        others = {p.name: _other(p.default) for p in left_out if type(p.default) in kinds}
        if others:
            found.append(replace(inputs, kwargs={**inputs.kwargs, **others}))
    return found


def _changed(
    inputs: ExampleInputs, change: Callable[[Any], float], kind: type[int] | type[float]
) -> ExampleInputs:
    args, kwargs = tree_map(
        lambda leaf: change(leaf) if type(leaf) is kind else leaf, (inputs.args, inputs.kwargs)
    )
    return replace(inputs, args=args, kwargs=kwargs)


def _other(number: float) -> float:
    """Return another number of the same type, which is not zero."""
    if type(number) is int:
        return number + 1
    return 1.5 * number or 1.0
