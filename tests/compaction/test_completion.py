"""A plan of cuts is completed by numbers of groups and classes of attention."""

import pytest
from torch import nn

from lightning_prune.compaction.completion import completed, free_attentions
from lightning_prune.compaction.plan import Attribute, Cut, Plan, SizeChange
from lightning_prune.runtime.swaps import EncodeByTensors, SizeByTensors
from lightning_prune.units.group import Axis

HALF = Plan({Axis("0.weight", 0): Cut((0, 1, 2, 3), 8)})


@pytest.mark.parametrize(
    ("layer", "name", "groups"),
    [
        (nn.Conv2d(8, 8, 3, groups=8), "groups", 8),
        (nn.Conv2d(8, 8, 3, groups=2), "groups", 2),
        (nn.GroupNorm(4, 8), "num_groups", 4),
    ],
)
def test_groups_go_with_their_channels(layer, name, groups):
    plan = completed(HALF, nn.Sequential(layer), {"0.weight"})
    assert plan.axes == HALF.axes
    assert plan.attributes == {Attribute("0", name): SizeChange(groups, groups // 2)}


def test_layers_that_do_not_lose_whole_groups_keep_their_number():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    assert completed(HALF, model).attributes == {}
    assert completed(Plan(), model, {"0.weight"}).attributes == {}
    assert completed(HALF, nn.Sequential(nn.Linear(8, 8)), {"0.weight"}).attributes == {}


def test_an_attention_of_which_something_is_cut_takes_its_sizes_from_its_tensors():
    model = nn.Sequential(nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2))
    plan = completed(Plan({Axis("1.out_proj.weight", 0): Cut((0, 1), 4)}), model)
    assert plan.swaps == {"1": SizeByTensors()}


def test_the_encoder_around_it_does_without_nested_tensors():
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2), nn.TransformerEncoder(layer, 1))
    name = "0.layers.1.self_attn"
    assert free_attentions(model, [name]) == {name: SizeByTensors(), "0": EncodeByTensors()}
    assert free_attentions(model[0], ["layers.0.self_attn"]).keys() == {"", "layers.0.self_attn"}
    assert free_attentions(model, ["0.layers.0.linear1"]) == {}
