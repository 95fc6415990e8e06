"""Stacked weights of which data pick rows are mixtures; those used in another way are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lightning_prune as lp
from lightning_prune.coupling.mixtures import Mixture

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def made(forward: Any, **shapes: tuple[int, ...]) -> nn.Module:
    """A net with a router, and parameters of these shapes."""

    def build(self: nn.Module) -> None:
        nn.Module.__init__(self)
        self.router = nn.Linear(6, 3)
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape)))

    return type("Net", (nn.Module,), {"__init__": build, "forward": forward})()


def by_vector(self, x):
    best = self.router(x).argmax(-1)
    return torch.einsum("nio,ni->no", self.w[best], x) + self.b[best]


def by_number(self, x):
    best = self.router(x).argmax(-1)
    rows = [F.linear(row, self.w[pick]) for row, pick in zip(x, best, strict=True)]
    return torch.stack(rows)


def by_select(self, x):
    best = self.router(x).argmax(-1)
    w = self.w.to(torch.float64).index_select(0, best).to(x.dtype)
    return torch.bmm(w, x.unsqueeze(-1)).squeeze(-1)


WHOLE = {"w": (3, 6, 6)}


@pytest.mark.parametrize(
    ("forward", "shapes", "tables"),
    [
        (by_vector, {**WHOLE, "b": (3, 6)}, ("w", "b")),
        (by_number, WHOLE, ("w",)),
        (by_select, WHOLE, ("w",)),
    ],
)
def test_rows_that_data_pick_are_experts(forward, shapes, tables):
    found = lp.couple(made(forward, **shapes), X)
    assert found.mixtures == (Mixture(tables[0], tables, 3),)
    assert "1 mixtures, of which Expert() removes experts: w" in str(found)
    assert "mixture" in found.details()


def test_biases_alone_are_no_mixture():
    assert lp.couple(made(lambda s, x: s.b[s.router(x).argmax(-1)], b=(3, 6)), X).mixtures == ()


def summed(self, x):
    return by_vector(self, x) + self.w.sum(0)[0]


def masked(self, x):
    return self.w[self.router(x).mean(0) > 0].sum((0, 1)) + x


def partly(self, x):
    return torch.einsum("nio,ni->no", self.w[self.router(x).argmax(-1), :, :4], x)


def in_order(self, x):
    for number in range(3):
        x = F.linear(x, self.w[number])
    return x


@pytest.mark.parametrize("forward", [summed, masked, partly, in_order])
def test_tables_used_in_another_way_are_none(forward):
    assert lp.couple(made(forward, **WHOLE, b=(3, 6)), X).mixtures == ()
