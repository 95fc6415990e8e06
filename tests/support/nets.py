"""Nets for tables: a forward pass in one line, and the parts that it uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_prune.coupling import couple
from support.oracle import assert_removable, reasons, ties


class Net(nn.Module):
    """A module whose forward pass is a function of itself and the inputs."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


class KeepsTable(nn.Module):
    """Keeps a table outside of itself, as code with a cache does; a new one begins without."""

    kept: ClassVar[dict[str, Tensor]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.last = nn.Linear(8, 2)
        self.kept.clear()

    def forward(self, x: Tensor) -> Tensor:
        self.kept.setdefault("table", torch.arange(8.0).sigmoid())
        return self.last(self.layer(x * self.kept["table"]))


CONV = "first.bias[0] first.weight[0]"


@dataclass(frozen=True)
class Between:
    """One operation between a convolution that writes 8 channels of 6x6 and a reading layer.

    Args:
        op: the operation, a function or a module.
        units: how many units are expected; 0 for none.
        reason: part of the reason why the first layer is frozen.
        second: the reading layer; a pointwise convolution by default.
        extra: axes of the operation's own parameters that are tied, too.
        constant: a unit that nothing writes still reads as a constant.
        exposed: something other than a weight reads the units.
        corrected: a call of the operation is corrected when a model is compacted. The oracle cannot
            do that; `test_constructs.py` does.
    """

    op: Callable[..., Any]
    units: int = 0
    reason: str = ""
    second: Callable[[], nn.Module] = lambda: nn.Conv2d(8, 4, 1)
    extra: str = ""
    constant: bool = False
    exposed: bool = False
    corrected: bool = False

    def check(self) -> None:
        parts = {"first": nn.Conv2d(3, 8, 3, padding=1), "op": self.op, "second": self.second()}
        net = Net(lambda m, x: m.second(m.op(m.first(x))), **parts)
        check = couple if self.corrected else assert_removable
        coupling = check(net, (torch.randn(2, 3, 6, 6),))
        tied = " ".join(sorted(f"{CONV} second.weight[1] {self.extra}".split()))
        assert ties(coupling) == ({tied: self.units} if self.units else {})
        assert self.reason in reasons(coupling, "first.weight[0]")
        assert bool(self.reason) == (not self.units)
        marks = [(g.constant is not None, g.exposed is not None) for g in coupling.groups]
        assert marks == [(self.constant, self.exposed)] * bool(self.units)


@dataclass(frozen=True)
class Whole:
    """A whole net with its groups.

    Args:
        net: builds it.
        shapes: of its inputs.
        ties: the groups: axes of the parameters, in alphabetical order → units.
        frozen: axis → part of the reason.
        corrected: as in `Between`.
    """

    net: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    ties: dict[str, int] = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)
    corrected: bool = False

    def check(self) -> None:
        check = couple if self.corrected else assert_removable
        coupling = check(self.net(), tuple(torch.randn(shape) for shape in self.shapes))
        assert ties(coupling) == self.ties
        for axis, reason in self.frozen.items():
            assert reason in reasons(coupling, axis)
            assert reasons(coupling, axis)
