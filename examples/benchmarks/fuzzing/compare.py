"""Compare: does one net compute what another one does, as far as rounding allows it?

The masked net is the reference. In float64 a relative error of 1e-10 is allowed, in float32 1e-5
of the largest output. Where the masked net itself is more sensitive to rounding, ten times as much
is allowed as it changes when its inputs and weights are disturbed by a few roundings, and in
float32, ten times what it differs from itself in float64. A batch norm of what is always the same
divides roundings by almost nothing: in float32, up to 1e-3 is allowed if both agree in float64.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}
_ALLOWANCE = 10.0
_IF_EQUAL_IN_FLOAT64 = 1e-3
_ROUNDED_BIASES = 1e-6
_ROUNDINGS = 8.0
_DISTURBANCES = 3

Given = tuple[Any, ...]


@dataclass(frozen=True)
class Mode:
    """How a net runs on some inputs.

    Args:
        name: ``"eval"``, ``"eval with gradients"`` or ``"train"``, where the running statistics
            change and count in a pass in eval mode that follows.
    """

    name: str

    def run(self, model: nn.Module, inputs: Sequence[Given]) -> list[Tensor]:
        """Return all outputs of a net without dropout, one pass after the other."""
        training = self.name == "train"
        model = (copy.deepcopy(model) if training else model).train(training)
        found = []
        with torch.set_grad_enabled(self.name == "eval with gradients"):
            for given in inputs:
                found += _outputs(model, given)
            if training:
                found += _outputs(model.eval(), inputs[0])
        return [t.detach() for t in found]


MODES = tuple(map(Mode, ("eval", "eval with gradients", "train")))


def prepared(model: nn.Module) -> nn.Module:
    """Return a copy of a net that drops nothing at random, to be compared with another one."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def error(
    masked: nn.Module, compact: nn.Module, mode: Mode, inputs: Sequence[Given]
) -> float | None:
    """Return by how much two nets differ, 0 where rounding explains it.

    Args:
        masked: the reference, prepared.
        compact: what must be equal to it, prepared.
        mode: how both run.
        inputs: what both are given, pass by pass, in float64.

    Returns:
        The relative error; infinity if the outputs have other shapes or are not finite elsewhere;
        None if the masked net does not run on these inputs.

    Raises:
        Exception: whatever only the compact net raises.
    """
    dtype = next(p.dtype for p in masked.parameters() if p.is_floating_point())
    given = [_converted(one, dtype) for one in inputs]
    try:
        expected = mode.run(masked, given)
    except Exception:  # these are inputs that it does not take
        return None
    obtained = mode.run(compact, given)
    found = _difference(expected, obtained)
    if found <= TOLERANCES[dtype]:
        return 0.0
    exact = mode.run(copy.deepcopy(masked).double(), inputs)
    own = [_difference(exact, expected)]
    for _ in range(_DISTURBANCES):
        disturbed = mode.run(_disturbed(masked), [_disturb(one, 1.0) for one in given])
        own.append(_difference(exact, disturbed))
    found = _difference(exact, obtained)
    allowed = max(TOLERANCES[dtype], _ALLOWANCE * max(own))
    if dtype == torch.float32:
        there = mode.run(copy.deepcopy(compact).double(), inputs)
        if _difference(exact, there) <= _ROUNDED_BIASES:
            allowed = max(allowed, _IF_EQUAL_IN_FLOAT64)
    return 0.0 if found <= allowed else found


def _outputs(model: nn.Module, inputs: Given) -> list[Tensor]:
    given = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, inputs)
    return [t for t in tree_leaves(model(*given)) if isinstance(t, Tensor)]


def _converted(inputs: Given, dtype: torch.dtype) -> Given:
    def convert(x: Any) -> Any:
        return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x

    return tree_map(convert, inputs)


def _difference(expected: Sequence[Tensor], obtained: Sequence[Tensor]) -> float:
    if [t.shape for t in expected] != [t.shape for t in obtained]:
        return math.inf
    return max(map(_relative, expected, obtained), default=0.0)


def _relative(expected: Tensor, obtained: Tensor) -> float:
    expected, obtained = expected.double(), obtained.double()
    finite = expected.isfinite()
    if not torch.equal(finite, obtained.isfinite()):
        return math.inf
    expected, obtained = expected[finite], obtained[finite]
    if not expected.numel():
        return 0.0
    return float((expected - obtained).abs().max() / expected.abs().max().clamp_min(1e-30))


def _disturbed(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(_disturb(parameter))
    return model


def _disturb(nested: Any, around: float = 0.0) -> Any:
    # Zeros of weights stay; inputs that are all the same do not, for a batch norm divides by that.
    def disturb(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return x
        noise = _ROUNDINGS * torch.finfo(x.dtype).eps * torch.randn_like(x)
        return x + (x.abs() + around) * noise

    return tree_map(disturb, nested)
