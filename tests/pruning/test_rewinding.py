import pytest
import torch
from torch import nn

from lightning_prune.pruning.rewinding import Memory, Rewinding
from lightning_prune.schedules import Linear, OneShot


def train(model, optimizer):
    model(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()


def test_weights_and_rates_return():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    memory = Memory()
    memory.remember(model, [optimizer])
    before = [p.detach().clone() for p in model.parameters()]
    train(model, optimizer)
    optimizer.param_groups[0]["lr"] = 0.01
    memory.restore_weights(model, [optimizer])
    memory.restore_rates([optimizer])
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not optimizer.state


def test_the_copy_is_not_trained_and_the_state_holds_it_once():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    memory, other = Memory(), Memory()
    memory.remember(model, [optimizer])
    before = model.weight.detach().clone()
    train(model, optimizer)
    assert torch.equal(memory.weights["weight"], before)
    other.load_state_dict(memory.state_dict())
    assert other.weights is memory.weights
    assert other.rates == [[0.1]]


@pytest.mark.parametrize("options", [{}, {"epoch": 1, "step": 2}, {"epoch": -1}])
def test_one_position_is_needed(options):
    with pytest.raises(ValueError, match=r"Expected `(epoch|step)`"):
        Rewinding(**options)


def test_something_must_be_rewound():
    with pytest.raises(ValueError, match="Expected `weights` or `learning_rate`"):
        Rewinding(epoch=1, weights=False)


def test_a_schedule_that_starts_before_is_refused():
    with pytest.raises(ValueError, match="Expected `schedule` to start at epoch 3 or later"):
        Rewinding(epoch=3).check(Linear(start_epoch=2, end_epoch=5))
    Rewinding(epoch=2).check(Linear(start_epoch=2, end_epoch=5))
    Rewinding(epoch=3).check(OneShot(step=1))
