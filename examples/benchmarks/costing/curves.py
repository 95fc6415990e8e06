"""Cost curves: the milliseconds of the layers that a unit touches, at a few widths of its group.

A compact twin is measured with this group narrowed and all others at their full width. So what two
groups save together is told only roughly: a layer's time depends on what it reads and on what it
writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_prune.measure.layers import layer_times
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.units.group import Group

FRACTIONS = (0.25, 0.5, 0.75)
_ROUNDS = 2

Curve = NDArray[np.float64]
"""What the layers of a group take in ms, for every number of kept units, shape ``[units + 1]``."""

Twin = Callable[[Sequence[Tensor]], nn.Module]
"""Makes a compact twin with these units."""


def measured_curves(
    model: nn.Module,
    example: ExampleInputs,
    groups: Sequence[Group],
    floors: Sequence[int],
    twin: Twin,
) -> list[Curve]:
    """Return the curve of each group.

    Args:
        model: the dense model.
        example: arguments for it.
        groups: the groups.
        floors: how many units each keeps at least.
        twin: makes compact twins of the model.
    """
    dense_ms, curves = _layers_ms(model, example), []
    for index, (group, floor) in enumerate(zip(groups, floors, strict=True)):
        points = {group.units: _of_group(dense_ms, group)}
        for width in widths_to_measure(group, floor):
            kept = [torch.ones(g.units, dtype=torch.bool) for g in groups]
            kept[index] = torch.arange(group.units) < width
            points[width] = _of_group(_layers_ms(twin(kept), example), group)
        curves.append(curve_through(points))
    return curves


def widths_to_measure(group: Group, floor: int) -> list[int]:
    """Return the least width, fractions of the full one, and the neighbour of a half.

    The fractions of groups with 32 units or more are multiples of 8, and the neighbour is one more.

    Args:
        group: the group.
        floor: how many units it keeps at least.
    """
    step = group.granule if group.units < 32 else int(np.lcm(8, group.granule))
    found = {floor, step * round(group.units / 2 / step) + group.granule}
    found |= {step * round(group.units * fraction / step) for fraction in FRACTIONS}
    return sorted(width for width in found if floor <= width < group.units)


def curve_through(points: Mapping[int, float]) -> Curve:
    """Return the curve through times in ms by numbers of units, the largest of which is all."""
    widths = np.array(sorted(points))
    ms = np.array([points[width] for width in widths])
    # Noise may order two widths the wrong way round.
    rising = (np.maximum.accumulate(ms) + np.minimum.accumulate(ms[::-1])[::-1]) / 2
    return np.interp(np.arange(widths[-1] + 1), widths, rising)


def _of_group(times_ms: Mapping[str, float], group: Group) -> float:
    names = {member.axis.tensor.rpartition(".")[0] for member in group.parameters}
    return sum(times_ms.get(name, 0.0) for name in names)


def _layers_ms(model: nn.Module, example: ExampleInputs) -> dict[str, float]:
    """Return the least of two medians: what else the machine does only adds to it."""
    rounds = [layer_times(model, example) for _ in range(_ROUNDS)]
    return {name: min(ms[name] for ms in rounds) for name in rounds[0]}
