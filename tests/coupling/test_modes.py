"""Every example is recorded in eval and in train mode, on a twin of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.coupling.modes import in_mode, prepare_training, record_modes
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import Call, ExampleInputs, examples_of

X = torch.randn(4, 3)


class Model(nn.Module):
    """Counts its calls in a buffer, and refuses to encode in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        assert self.calls == 1
        return self.drop(self.norm(self.layer(x)))

    def encode(self, x: Tensor) -> Tensor:
        assert not self.training
        return self.layer(x)


def test_all_examples_in_eval_mode_come_first():
    found = record_modes(Model().train(), examples_of([X, Call("encode", X)]))
    assert [(one.inputs.method, one.training) for one in found] == [
        ("forward", False),
        ("encode", False),
        ("forward", True),
    ]
    assert [one.inputs.batch_size for one in found] == [2, 2, 2]


def test_an_example_that_does_not_run_in_eval_mode_is_refused():
    with pytest.raises(ExampleInputsError, match=r"`Model.decode` takes, .* AttributeError"):
        record_modes(Model(), examples_of([X, Call("decode", X)]))


def test_what_does_not_run_on_a_small_batch_runs_on_the_whole_one():
    class Fussy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert len(x) == 4
            return x

    assert [one.inputs.batch_size for one in record_modes(Fussy(), examples_of(X))] == [4, 4]


def test_train_mode_leaves_batch_norm_and_dropout_in_eval_mode():
    model = Model().eval()
    trained = in_mode(model, training=True)
    assert [m.training for m in (trained, trained.layer, trained.norm, trained.drop)] == [
        True,
        True,
        False,
        False,
    ]
    assert not model.training
    assert not in_mode(model.train(), training=False).training
    prepare_training(model)
    assert model.training


class Choosing(nn.Module):
    """Each of ten layers is run for the rows of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(10))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.layers[int(row[0])](row) for row in x])


@pytest.mark.parametrize(("count", "used"), [(10, 10), (4, 4), (2, 2)])
def test_the_whole_batch_is_recorded_where_it_runs_more(count: int, used: int) -> None:
    inputs = ExampleInputs((torch.arange(10.0)[:count, None].expand(-1, 2),))
    recordings = record_modes(Choosing(), [inputs])
    assert [recording.training for recording in recordings] == [False, True]
    for recording in recordings:
        names = {value.name for value in recording.graph.values} - {None}
        assert len(names) == 2 * used
        assert recording.inputs.batch_size == count
