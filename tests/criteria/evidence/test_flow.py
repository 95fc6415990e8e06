import pytest
import torch
from torch import nn

from lightning_prune.criteria.evidence.flow import flow_gradients
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_model_is_left_as_it_is(dtype):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train().to(dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flow_gradients(model, [ExampleInputs.of(torch.randn(2, 3))], ["0.weight"])
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert all(p.grad is None and p.dtype == dtype for p in model.parameters())
    assert model.training


def test_a_deep_model_stays_finite():
    model = nn.Sequential(*[nn.Linear(64, 64) for _ in range(60)])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20.0)
    names = [name for name, _ in model.named_parameters()]
    flow = flow_gradients(model, [ExampleInputs.of(torch.randn(1, 64))], names)
    assert all(g.isfinite().all() for g in flow.values())
    assert max(g.abs().max() for g in flow.values()) == 1.0


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))

    def forward(self, x):
        return x * 2


def test_an_output_without_weights_is_refused():
    with pytest.raises(ExampleInputsError, match="depends on its weights"):
        flow_gradients(Constant(), [ExampleInputs.of(torch.randn(1, 2))], ["weight"])
