import pytest
import torch
import torch.nn.functional as F
from support.proving import channels, proved
from torch import nn

N = None
CASES = {
    "one": (lambda m, h: h.exp() + 1, [2.6487212707001282, 2.0, N, N]),
    "a sum with what varies": (lambda m, h: h + h.flip(-1), [N, N, N, N]),
    "a product with what varies": (lambda m, h: h * h.flip(-1), [N, 0.0, 0.0, N]),
    "a product with a number": (lambda m, h: 3 * h, [1.5, 0.0, N, N]),
    "a quotient": (lambda m, h: h / h.flip(-1), [N, N, N, N]),
    "where": (lambda m, h: torch.where(h > 0, h, 2.0), [0.5, 2.0, N, N]),
    "a decision that varies": (lambda m, h: torch.where(h[:, 3:] > 0, h, h), [N, N, N, N]),
    "places": (lambda m, h: torch.where(h.flatten() > -1e9)[0].view(2, 4), [N, N, N, N]),
    "masked": (lambda m, h: h.masked_fill(h.new_ones(4) > 0, torch.tensor(3.0)), [3.0, 3.0, N, N]),
    "from a number": (lambda m, h: torch.rsub(h, 1.0) + torch.rsub(h, h), [0.5, 1.0, N, N]),
    "the larger": (lambda m, h: torch.max(h, h.new_full((4,), 0.25)), [0.5, 0.25, N, N]),
    "a slope": (lambda m, h: m.slope(h - 0.75), [-0.0625, -0.1875, N, N]),
    "another type": (lambda m, h: h.float() * 2, [1.0, 0.0, N, N]),
    "whole numbers": (lambda m, h: h.long() + 1, [1.0, 1.0, N, N]),
    "bools": (lambda m, h: h > 0.25, [1.0, 0.0, N, N]),
    "dropout": (lambda m, h: m.drop(h), [N, 0.0, N, N]),
    "dropout of nothing": (lambda m, h: F.dropout(h, 0.0, m.training), [0.5, 0.0, N, N]),
    "dropout that shifts": (lambda m, h: m.alpha(h), [N, N, N, N]),
    "noise": (lambda m, h: h + torch.randn_like(h), [N, N, N, N]),
    "random slopes": (lambda m, h: F.rrelu(h, training=m.training), [N, N, N, N]),
}


def parts():
    slope = nn.PReLU(4)
    return {"slope": slope, "drop": nn.Dropout(0.5), "alpha": nn.AlphaDropout(0.5)}


@pytest.mark.parametrize(("function", "expected"), CASES.values(), ids=CASES)
def test_what_is_proved(function, expected):
    assert channels(proved(function, 2, 3, **parts())) == expected


def test_both_halves_of_a_gate_count():
    def function(m, h):
        return F.glu(m.wide(h))

    wide = nn.Linear(4, 4)
    with torch.no_grad():
        wide.weight[0], wide.weight[2] = 0, 0
        wide.bias[0], wide.bias[2] = 2.0, 0.0
    assert channels(proved(function, 2, 3, wide=wide)) == [1.0, N]
