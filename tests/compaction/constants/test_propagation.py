"""What follows for a whole pass: writes in place, views, numbers that Python sees."""

import pytest
import torch
from support.proving import channels, proved
from torch import nn

from lightning_prune.compaction.constants.propagation import ConstantPropagation, Unproved
from lightning_prune.coupling import couple

NONE = None


def part_written(m, h):
    h = h.clone()
    h[:, 0] = 7.0
    return h


def view_of_what_is_written(m, h):
    view = h.view(-1, 4)
    h.mul_(h.sum())
    return view


CASES = {
    "as they are": (lambda m, h: h, [0.5, 0.0, NONE, NONE]),
    "in place": (lambda m, h: h.add_(1.0).mul_(2), [3.0, 2.0, NONE, NONE]),
    "a part written": (part_written, [NONE] * 4),
    "a view of what is written": (view_of_what_is_written, [NONE] * 4),
    "no number": (lambda m, h: (h - 0.5).log(), [NONE] * 4),
    "an operation without a transfer": (lambda m, h: h.sort(-1).values, [NONE] * 4),
    "a constant made of one number": (lambda m, h: h + torch.tensor(2.0), [2.5, 2.0, NONE, NONE]),
    "a constant of several": (lambda m, h: h + torch.tensor([1.0, 2, 3, 4]).to(h), [NONE] * 4),
    "nothing beside it, at these sizes": (lambda m, h: torch.cat([h, h[:0] * 2]), [NONE] * 4),
}


@pytest.mark.parametrize(("function", "expected"), CASES.values(), ids=CASES)
def test_what_is_proved(function, expected):
    assert channels(proved(function, 2, 3)) == expected


@pytest.mark.parametrize(
    "function",
    [lambda m, h: h * float(h.max()), lambda m, h: h if h.max() < 5 else -h],
    ids=["a number", "a decision"],
)
def test_nothing_is_proved_where_python_looks_at_what_varies(function):
    with pytest.raises(Unproved, match=r"looks at numbers that vary .*test_propagation"):
        proved(function, 2, 3)


def test_python_may_look_at_what_is_constant():
    found = proved(lambda m, h: h * float(m.scale), 2, 3, scale=Scale())
    assert channels(found) == [1.0, 0.0, NONE, NONE]


class Scale(nn.Module):
    """A parameter that Python reads."""

    def __init__(self):
        super().__init__()
        self.number = nn.Parameter(torch.tensor(2.0))

    def __float__(self):
        return float(self.number)


def test_what_is_not_handed_over_varies():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    trace = couple(net, torch.randn(2, 3)).traces.traces[0]
    assert ConstantPropagation(trace, {}).run({2}) == {2: [None, None, None]}


def test_in_train_mode_the_recording_there_counts():
    def function(m, h):
        return h * 2 if m.training else h

    assert channels(proved(function, 2, 3, training=True)) == [1.0, 0.0, NONE, NONE]
    assert channels(proved(function, 2, 3)) == [0.5, 0.0, NONE, NONE]
