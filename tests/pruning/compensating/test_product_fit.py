"""A reader is fitted as the normal equations say: the oracle is numpy's least squares."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_prune.compensations import FoldMeans, LeastSquares
from lightning_prune.pruning.compensating.linear_maps import MatrixProduct
from lightning_prune.pruning.compensating.product_fit import ProductFit
from lightning_prune.pruning.compensating.products import SeenProduct, WeightView

WEIGHT = WeightView("weight", (4, 3), (3, 1), 0)
BIAS = WeightView("bias", (3,), (1,), 0)
KEPT = torch.tensor([True, True, False, False])
TINY = LeastSquares(ridge=1e-12)


def seen(inputs: Tensor, outputs: Tensor, bias: WeightView | None, **more: Tensor) -> SeenProduct:
    operands = (torch.empty(4, 3), None)
    return SeenProduct(WEIGHT, MatrixProduct(), inputs, outputs, bias, operands, **more)


class Reader:
    """Four features, of which two went, and three outputs."""

    def __init__(self, *, bias: bool = True) -> None:
        torch.manual_seed(0)
        mixed = torch.randn(4, 4, dtype=torch.float64)
        self.before = torch.randn(50, 4, dtype=torch.float64) @ mixed + 1
        self.now = self.before * KEPT
        self.weight = torch.randn(4, 3, dtype=torch.float64)
        self.bias = torch.randn(3, dtype=torch.float64)
        self.wanted = self.before @ self.weight + self.bias * bias
        self.tensors = {"weight": self.weight * KEPT[:, None], "bias": self.bias.clone()}
        self.view = BIAS if bias else None

    def fit(self, compensation: LeastSquares | FoldMeans, norm: str | None = None) -> ProductFit:
        written = self.now @ self.weight + self.bias * (self.view is not None)
        now, before = (
            seen(self.now, written, self.view),
            seen(self.before, self.wanted, self.view),
        )
        mask = KEPT[:, None].expand(4, 3)
        made = ProductFit(now, mask, products=isinstance(compensation, LeastSquares))
        made.norm = norm
        for rows in (slice(0, 30), slice(30, 50)):
            which = torch.arange(50)[rows]
            made.add(now, before, which)
        made.fit(compensation, self.tensors, lambda tensor: tensor)
        return made


def test_weights_and_bias_are_those_of_least_squares():
    reader = Reader()
    made = reader.fit(TINY)
    features = np.column_stack([reader.now[:, KEPT], np.ones(50)])
    solved = np.linalg.lstsq(features, reader.wanted.numpy(), rcond=None)[0]
    assert np.allclose(reader.tensors["weight"][KEPT], solved[:2], atol=1e-6)
    assert np.allclose(reader.tensors["bias"], solved[2], atol=1e-6)
    assert not reader.tensors["weight"][~KEPT].any()
    assert made.obstacle is None
    assert made.errors is not None
    assert made.errors[1] < made.errors[0]


def test_without_a_bias_or_norm_the_fit_goes_through_the_origin():
    reader = Reader(bias=False)
    reader.fit(TINY)
    solved = np.linalg.lstsq(reader.now[:, KEPT].numpy(), reader.wanted.numpy(), rcond=None)[0]
    assert np.allclose(reader.tensors["weight"][KEPT], solved, atol=1e-6)


def test_a_norm_behind_takes_the_constant():
    reader = Reader(bias=False)
    reader.tensors["mean"] = torch.zeros(3, dtype=torch.float64)
    reader.fit(TINY, norm="mean")
    left = reader.now @ reader.tensors["weight"] - reader.tensors["mean"]
    assert torch.allclose(left.mean(0), reader.wanted.mean(0))


def test_means_alone_go_into_the_bias():
    reader = Reader()
    weight = reader.tensors["weight"].clone()
    made = reader.fit(FoldMeans())
    lost = (reader.before * ~KEPT).mean(0) @ reader.weight
    assert torch.allclose(reader.tensors["bias"], reader.bias + lost)
    assert torch.equal(reader.tensors["weight"], weight)
    assert made.errors is None


@pytest.mark.parametrize("compensation", [TINY, FoldMeans()], ids=["least squares", "means"])
def test_what_is_not_finite_changes_nothing(compensation):
    reader = Reader()
    reader.now[3, 0] = torch.inf
    before = {name: tensor.clone() for name, tensor in reader.tensors.items()}
    made = reader.fit(compensation)
    assert made.obstacle == "it has read something that is not finite"
    assert all(torch.equal(tensor, before[name]) for name, tensor in reader.tensors.items())


def test_means_need_somewhere_to_go():
    assert Reader(bias=False).fit(FoldMeans()).obstacle == (
        "it has neither a bias nor a batch norm behind it"
    )


def test_what_is_added_at_once_makes_up_for_what_it_has_lost():
    reader = Reader()
    stream, less = torch.randn(2, 50, 3, dtype=torch.float64)
    mask = KEPT[:, None].expand(4, 3)
    now = seen(reader.now, reader.now @ reader.weight, BIAS, added=less)
    before = seen(reader.before, reader.wanted, BIAS, added=stream)
    made = ProductFit(now, mask, products=True)
    made.add(now, before)
    made.fit(TINY, reader.tensors, lambda tensor: tensor)
    features = np.column_stack([reader.now[:, KEPT], np.ones(50)])
    wanted = (reader.wanted + stream - less).numpy()
    solved = np.linalg.lstsq(features, wanted, rcond=None)[0]
    assert np.allclose(reader.tensors["weight"][KEPT], solved[:2], atol=1e-6)


def test_ranks_add_up_what_they_have_seen():
    whole, part = Reader(), Reader()
    whole.fit(TINY)
    written = part.now @ part.weight + part.bias
    halves = []
    for rows in (torch.arange(25), torch.arange(25, 50)):
        mask = KEPT[:, None].expand(4, 3)
        now, before = seen(part.now, written, BIAS), seen(part.before, part.wanted, BIAS)
        halves.append(ProductFit(now, mask, products=True))
        halves[-1].add(now, before, rows)
    first, second = halves
    pending = iter(_collected(second))
    first.fit(TINY, part.tensors, lambda tensor: tensor + next(pending))
    assert torch.allclose(part.tensors["weight"], whole.tensors["weight"])
    assert torch.allclose(part.tensors["bias"], whole.tensors["bias"])


def _collected(fit: ProductFit) -> list[Tensor]:
    """Return what one rank sends, in order."""
    sent: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        sent.append(tensor.clone())
        return tensor

    for sums in fit._sums:
        sums.reduce(keep)
    return sent
