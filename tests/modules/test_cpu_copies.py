import pytest
import torch
from torch import nn

from lightning_prune.errors import TargetError
from lightning_prune.modules.cpu_copies import cpu_copies


def test_a_copy_does_not_follow_its_tensor():
    layer = nn.Linear(3, 2)
    copied = cpu_copies(dict(layer.named_parameters()))
    before = copied["weight"].clone()
    with torch.no_grad():
        layer.weight.zero_()
    assert torch.equal(copied["weight"], before)
    assert not copied["weight"].requires_grad


def test_what_is_no_tensor_is_copied_too():
    values = {"weight": torch.ones(2), "_extra_state": {"count": [1]}}
    copied = cpu_copies(values)
    values["_extra_state"]["count"].append(2)
    assert copied["_extra_state"] == {"count": [1]}


def test_a_state_dict_with_extra_state_loads_again():
    class Counting(nn.Linear):
        count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    layer = Counting(3, 2)
    copied = cpu_copies(layer.state_dict())
    layer.count = 5
    layer.load_state_dict(copied)
    assert layer.count == 0


def test_sharded_tensors_are_refused():
    class Sharded(torch.Tensor):
        def full_tensor(self):
            return self

    with pytest.raises(TargetError, match=r"whole on every rank.*such as w"):
        cpu_copies({"w": torch.ones(2).as_subclass(Sharded)})
