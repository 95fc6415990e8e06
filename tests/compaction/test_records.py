"""What compaction has changed is kept beside each module, through copies and pickles."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.compaction.plan import Attribute, Cut, Plan, SizeChange
from lightning_prune.compaction.records import RECORD, Names, plan_of, record_of
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.runtime.swaps import WidenNorm
from lightning_prune.units.group import Axis


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.width = 4
        self.body = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.again = nn.Linear(3, 4)
        self.again.weight = self.body[0].weight
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.scale


FIRST = Plan(
    {Axis("body.0.weight", 0): Cut((0, 1, 3), 4), Axis("body.1.weight", 0): Cut((0, 1, 3), 4)},
    {Attribute("", "width"): SizeChange(4, 3)},
    {"body.1": WidenNorm(4)},
    frozen=("scale",),
)
BOTH_NAMES = {Axis("again.weight", 0): Cut((0, 1, 3), 4), **FIRST.axes}


@pytest.fixture
def net() -> Net:
    net = Net()
    Surgery(net).apply(FIRST)
    return net


def test_the_plan_of_a_model_is_what_was_applied_under_every_name(net):
    assert plan_of(net) == Plan(BOTH_NAMES, FIRST.attributes, FIRST.swaps, frozen=("scale",))


def test_a_model_of_full_size_has_none():
    assert plan_of(Net()) == record_of(Net()) == Plan()


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"]
)
def test_copies_and_pickles_carry_it(net, again):
    assert plan_of(again(net)) == plan_of(net)


def test_the_plan_of_a_part_has_names_of_that_part(net):
    assert plan_of(net.again) == Plan({Axis("weight", 0): Cut((0, 1, 3), 4)})
    assert plan_of(net.body).swaps == {"1": WidenNorm(4)}
    assert plan_of(nn.Sequential(net)).attributes == {Attribute("0", "width"): SizeChange(4, 3)}


def test_a_second_plan_is_joined_to_the_first(net):
    later = Plan({Axis("body.0.weight", 0): Cut((0, 2), 3)})
    Surgery(net).apply(later)
    assert plan_of(net).axes[Axis("again.weight", 0)] == Cut((0, 3), 4)
    assert net.body[0].weight.shape == (2, 3)


def test_both_names_of_one_tensor_cut_it_once():
    net = Net()
    Surgery(net).apply(Plan(BOTH_NAMES))
    assert net.again.weight.shape == (3, 3)
    assert plan_of(net).axes == BOTH_NAMES


def test_it_is_undone_with_the_surgery():
    net = Net()
    surgery = Surgery(net)
    surgery.apply(FIRST)
    surgery.undo()
    assert all(RECORD not in vars(module) for module in net.modules())


def test_no_state_dict_holds_it(net):
    assert list(net.state_dict()) == list(Net().state_dict())


def test_parts_of_a_plan_are_by_module():
    net = Net()
    parts = Names(net).parts(FIRST)
    assert set(parts) == {net, net.body[0], net.body[1], net.again}
    assert parts[net].frozen == ("scale",)
