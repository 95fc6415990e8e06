"""What modules cost by themselves adds up to what the model costs."""

import pytest
import torch
from torch import nn

from lightning_prune.errors import ExampleInputsError
from lightning_prune.measure import count_macs
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.report.layers import layers_of, macs_by_layer, ms_by_layer


class Block(nn.Module):
    """Two layers, and a product of its own."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, x):
        y = self.net(x)
        return y @ y.T


INPUTS = ExampleInputs.of(torch.ones(5, 4))
EXPECTED = {"": 5 * 3 * 5, "net": 0, "net.0": 5 * 4 * 6, "net.1": 0, "net.2": 5 * 6 * 3}


def test_multiply_adds_of_modules_add_up():
    model = Block()
    assert macs_by_layer(model, INPUTS) == EXPECTED
    assert sum(EXPECTED.values()) == count_macs(model, torch.ones(5, 4))


def test_a_module_that_is_called_twice_counts_twice():
    layer = nn.Linear(4, 4)
    found = macs_by_layer(nn.Sequential(layer, layer), INPUTS)
    assert found["0"] == 2 * 5 * 4 * 4


def test_milliseconds_are_measured_of_every_module_that_runs():
    model = Block()
    before, after = ms_by_layer([model, Block(3)], INPUTS)
    assert before.keys() == after.keys() == EXPECTED.keys()
    assert min(before.values()) > 0
    assert not model.net[0]._forward_hooks


def test_rows_have_what_was_counted():
    models = [Block(), Block(2)]
    rows = layers_of(*models, macs=tuple(macs_by_layer(model, INPUTS) for model in models))
    assert [row.name for row in rows] == ["", "net.0", "net.2"]
    first = rows[1]
    assert (first.kind, first.shape_before, first.shape_after) == ("Linear", (6, 4), (2, 4))
    assert (first.params_before, first.params_after) == (6 * 4 + 6, 2 * 4 + 2)
    assert (first.macs_before, first.macs_after) == (5 * 4 * 6, 5 * 4 * 2)
    assert first.ms_before is None


def test_without_a_compact_model_nothing_is_after():
    (row,) = layers_of(nn.Linear(4, 4))
    assert (row.name, row.shape_after, row.params_after, row.macs_before) == ("", None, None, None)


def test_a_module_that_is_gone_has_nothing_after():
    rows = layers_of(nn.Sequential(nn.Linear(4, 4)), nn.Sequential())
    assert [row.params_after for row in rows] == [0, None]


def test_inputs_that_do_not_run_are_refused():
    with pytest.raises(ExampleInputsError, match="Block"):
        macs_by_layer(Block(), ExampleInputs.of(torch.ones(5, 7)))
