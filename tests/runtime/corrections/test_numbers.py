"""Numbers computed from a width are those that there were."""

import ast

import pytest
import torch
import torch.nn.functional as F

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import (
    ArgumentPin,
    Pin,
    PinArguments,
    RescaleMean,
    ScaleAttention,
    TensorOf,
)

X = torch.arange(24.0).reshape(2, 12)


def test_numbers_are_multiplied_and_tensors_are_not():
    assert Pin(2, 1)(4) == 8
    assert isinstance(Pin(2, 1)(4), int)
    assert Pin(8**0.5, 4**0.5)(4**0.5) == pytest.approx(8**0.5, rel=1e-15)
    assert Pin(2, 1)(X) is X


def test_numbers_in_a_call():
    assert torch.equal(PinArguments((ArgumentPin(2, 1, "other", 0),))(X.mul, 4), X * 8)
    assert torch.equal(PinArguments((ArgumentPin(2, 1, "other", 1),))(torch.mul, X, 4), X * 8)
    assert torch.equal(PinArguments((ArgumentPin(2, 1, "alpha", 2),))(X.add, X, alpha=4), X * 9)
    both = PinArguments((ArgumentPin(2, 1, "min", 0), ArgumentPin(3, 1, "max", 1)))
    assert torch.equal(both(X.clamp, 1, max=3), X.clamp(2, 9))


def test_a_tensor_of_a_number():
    assert TensorOf(2, 1)(torch.tensor, 4).item() == 8
    assert TensorOf(2, 1)(torch.tensor, data=4, dtype=torch.float64).item() == 8
    assert TensorOf(2, 1)(X.new_tensor, 4).dtype == X.dtype


def test_a_mean_over_what_there_was():
    wide = torch.cat([X, torch.zeros(2, 4)], 1)
    assert torch.allclose(RescaleMean(12 / 16)(X.mean, 1), wide.mean(1))


def test_attention_with_the_scale_of_the_width_that_there_was():
    q, k, v = torch.randn(3, 1, 2, 5, 4).unbind(0)
    wide = (F.pad(t, (0, 4)) for t in (q, k))
    expected = F.scaled_dot_product_attention(*wide, v)
    found = ScaleAttention(8**-0.5)(F.scaled_dot_product_attention, q, k, v)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "later", "both"),
    [
        (Pin(2, 1), Pin(3, 1), Pin(6, 1)),
        (TensorOf(2, 1), TensorOf(3, 1), TensorOf(6, 1)),
        (RescaleMean(0.5), RescaleMean(0.5), RescaleMean(0.25)),
        (ScaleAttention(0.25), ScaleAttention(0.5), ScaleAttention(0.25)),
        (Pin(2, 1), TensorOf(2, 1), None),
        (TensorOf(2, 1), Pin(2, 1), None),
        (RescaleMean(0.5), Pin(2, 1), None),
        (ScaleAttention(0.5), Pin(2, 1), None),
        (PinArguments((ArgumentPin(2, 1, "other", 0),)), Pin(2, 1), None),
    ],
    ids=str,
)
def test_two_corrections_of_one_call_are_one(first, later, both):
    assert first.then(later) == both


def test_numbers_in_a_call_are_multiplied_twice():
    first, second = (PinArguments((ArgumentPin(n, 1, "other", 0),)) for n in (2, 3))
    both = first.then(second)
    assert isinstance(both, PinArguments)
    assert torch.equal(both(X.mul, 4), X * 24)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x * n", "pin(x) * pin(n)"),
        ("x * 2", "pin(x) * 2"),
        ("x < n < m", "pin(x) < pin(n) < pin(m)"),
    ],
)
def test_operands_are_pinned_and_literals_stay(text, expected):
    node = ast.parse(text, mode="eval").body
    assert ast.unparse(Pin(2, 1).wrap("pin", node)) == expected


def test_a_call_has_no_operands():
    with pytest.raises(RewriteError, match=r"Pin does not fit f\(x\)"):
        Pin(2, 1).wrap("pin", ast.parse("f(x)", mode="eval").body)


@pytest.mark.parametrize("kind", [Pin, TensorOf])
@pytest.mark.parametrize(
    "fraction", [(1, 0), (True, 1), ("1", 1), (float("nan"), 1), (1, float("inf"))], ids=str
)
def test_fractions_of_other_kinds_are_refused(kind, fraction):
    with pytest.raises(ValueError, match="Expected `numerator and denominator`"):
        kind(*fraction)


@pytest.mark.parametrize(
    "pin", [(2, 1, "other"), (2, 0, "other", 1), (2, 1, "a b", 1), (2, 1, 3, 1), (2, 1, "a", -1)]
)
def test_pins_of_other_kinds_are_refused(pin):
    with pytest.raises(ValueError, match=r"Expected `(pins|numerator)"):
        PinArguments((pin,))


@pytest.mark.parametrize("share", [0, 1.5, -1.0, float("nan"), "1", True], ids=str)
def test_shares_of_other_kinds_are_refused(share):
    with pytest.raises(ValueError, match="Expected `share`"):
        RescaleMean(share)


@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), None], ids=str)
def test_scales_of_other_kinds_are_refused(scale):
    with pytest.raises(ValueError, match="Expected `scale`"):
        ScaleAttention(scale)
