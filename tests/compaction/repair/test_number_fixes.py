"""Numbers computed from a width mean the width that there was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net
from torch import Tensor, nn

from lightning_prune.compaction.repair.fixes import Expectation, Fix, call_with
from lightning_prune.compaction.repair.size_fixes import fix_for
from lightning_prune.coupling import couple
from lightning_prune.runtime.corrections import (
    ArgumentPin,
    PinArguments,
    RescaleMean,
    ScaleAttention,
    TensorOf,
    WidenLayerNorm,
    WidenRMSNorm,
)
from lightning_prune.units.group import Axis

X = torch.randn(2, 3, 5)


def expectation(name: str, function: Any, **parts: Any) -> Expectation:
    """Record ``function`` of 8 features, of which all but the first four go."""
    net = Net(
        lambda m, x: m.last(function(m, m.first(x))),
        first=nn.Linear(5, 8),
        last=nn.Linear(8, 2),
        **parts,
    )
    traces = couple(net, X).traces
    trace, forecast = traces.forecasts({Axis("first.weight", 0): torch.arange(4)})[0]
    node = next(n for n in trace.graph if n.name == f"aten::{name}")
    return Expectation(node, trace, forecast)


def fix(e: Expectation, *args: Any, **kwargs: Any) -> Fix | None:
    return fix_for(e, e.node.op, args, kwargs)


def small() -> Tensor:
    return torch.randn(2, 3, 4, dtype=torch.float64)


def wide(x: Tensor) -> Tensor:
    return F.pad(x, (0, 4))


def test_a_number_is_the_recorded_one():
    e = expectation("div", lambda m, x: x / x.shape[-1] ** 0.5)
    x = small()
    found = fix(e, x, 4**0.5)
    assert found is not None
    assert found.correction == PinArguments((ArgumentPin(8**0.5, 4**0.5, "other", 1),))
    assert torch.allclose(found.run(), x / 8**0.5)
    assert fix(e, x, 8**0.5) is None


def test_whole_numbers_give_a_reduced_fraction():
    e = expectation("mul", lambda m, x: x * x.shape[-1])
    found = fix(e, small(), 4)
    assert found is not None
    assert found.correction == PinArguments((ArgumentPin(2, 1, "other", 1),))


def test_every_number_of_a_call_is_corrected():
    e = expectation("clamp", lambda m, x: x.clamp(-x.shape[-1], x.shape[-1] / 2))
    found = fix(e, small(), -4, 2.0)
    assert found is not None
    assert isinstance(found.correction, PinArguments)
    assert [pin[2:] for pin in found.correction.pins] == [("min", 1), ("max", 2)]


def test_numbers_that_differ_by_rounding_are_the_same():
    e = expectation("mul", lambda m, x: x * 3.0)
    assert fix(e, small(), 3.00001) is None
    assert fix(e, small(), 3.01) is not None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_the_same_as_itself(number):
    e = expectation("clamp", lambda m, x: x.relu().clamp(max=number))
    assert fix(e, small(), max=number) is None


def test_a_number_that_was_not_zero_and_is_cannot_be_corrected():
    e = expectation("mul", lambda m, x: x * (x.shape[-1] // 8))
    with pytest.raises(LookupError, match="the number 0 instead of 1"):
        fix(e, small(), 0)


def test_a_number_in_a_tensor():
    e = expectation("lift_fresh", lambda m, x: x * torch.tensor(x.shape[-1]))
    found = fix(e, torch.tensor(4))
    assert found is not None
    assert found.correction == TensorOf(2, 1)
    assert found.run().item() == 8
    assert fix(e, torch.tensor(8)) is None


@pytest.mark.parametrize(("dim", "share"), [([-1], 0.5), ([1], 1.0), ([1, 2], 0.5), (None, 0.5)])
def test_a_mean_is_over_all_that_there_was(dim, share):
    def function(m: Any, x: Tensor) -> Tensor:
        return x + (x.mean() if dim is None else x.mean(dim, keepdim=True))

    e = expectation("mean", function)
    x = small()
    found = fix(e, x) if dim is None else fix(e, x, dim, True)
    if share == 1.0:
        assert found is None
    else:
        assert found is not None
        assert found.correction == RescaleMean(share)
        expected = wide(x).mean() if dim is None else wide(x).mean(dim, keepdim=True)
        assert torch.allclose(found.run(), expected)


def test_attention_keeps_the_scale_of_its_width():
    def function(m: Any, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)

    e = expectation("scaled_dot_product_attention", function)
    q = small()
    found = fix(e, q, q, q)
    assert found is not None
    assert found.correction == ScaleAttention(8**-0.5)
    assert torch.allclose(found.run(), F.scaled_dot_product_attention(wide(q), wide(q), q))


@pytest.mark.parametrize(
    ("kind", "correction"), [(nn.LayerNorm, WidenLayerNorm(8)), (nn.RMSNorm, WidenRMSNorm(8))]
)
def test_a_norm_keeps_the_statistics_of_its_width(kind, correction):
    norm = kind(8).double()
    name = "layer_norm" if kind is nn.LayerNorm else "rms_norm"
    e = expectation(name, lambda m, x: m.norm(x), norm=kind(8))
    x = small()
    vectors = [v[:4] for v in norm.parameters()]
    found = fix(e, x, [4], *vectors, eps=norm.eps)
    assert found is not None
    assert found.correction == correction
    assert torch.allclose(found.run(), norm(wide(x))[..., :4])


def test_lists_that_are_no_sizes_must_be_the_same():
    e = expectation("roll", lambda m, x: x.roll([1], [1]))
    assert fix(e, small(), [1], [1]) is None
    with pytest.raises(LookupError, match=r"shifts \[2\] instead of \[1\]"):
        fix(e, small(), [2], [1])


def test_a_call_with_some_arguments_changed():
    func = torch.ops.aten.add.Tensor
    x = torch.ones(2)
    given = {"self": x, "other": x, "alpha": 2}
    assert call_with(func, given)().tolist() == [3, 3]
    assert call_with(func, given, alpha=3)().tolist() == [4, 4]
    assert call_with(func, given, self=x * 0)().tolist() == [2, 2]
