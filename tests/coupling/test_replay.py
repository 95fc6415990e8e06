import pytest
import torch
from support.nets import Net
from torch import nn

from lightning_prune.coupling import couple
from lightning_prune.coupling.replay import run_twin, twin_as_recorded
from lightning_prune.errors import ExampleInputsError


def test_a_model_runs_again_as_it_was_recorded() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 2)), torch.randn(2, 3)
    for trace in couple(model, x).traces.traces:
        copy = twin_as_recorded(model, trace)
        assert copy.training == trace.training
        first, again = run_twin(copy, trace), run_twin(copy, trace)
        assert torch.equal(first[0], again[0])  # the dropout, too
        if not trace.training:
            torch.testing.assert_close(first[0], model.eval()(x).detach())


def test_a_model_that_writes_into_its_inputs_is_given_the_same_ones_again() -> None:
    model = Net(lambda m, x: m.layer(x.mul_(2.0)), layer=nn.Linear(3, 2))
    (trace, *_) = couple(model, torch.randn(2, 3)).traces.traces
    copy = twin_as_recorded(model, trace)
    first, again = run_twin(copy, trace), run_twin(copy, trace)
    assert torch.equal(first[0], again[0])


def test_a_model_that_does_not_run_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    (trace, *_) = couple(model, torch.randn(2, 3)).traces.traces
    with pytest.raises(ExampleInputsError, match="raised RuntimeError"):
        run_twin(nn.Linear(5, 2), trace)
