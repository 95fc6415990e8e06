"""Experts go where their weights are read by their module alone, and only there."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import lightning_prune as lp
from lightning_prune.compaction.compact_file import CompactFile
from lightning_prune.compaction.experts import dead_experts, remove_experts
from lightning_prune.compaction.records import plan_of
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import Unverified
from lightning_prune.coupling.graph import Position
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.runtime.corrections import ReadRows

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(4, 4, 4))
        self.down = nn.Parameter(torch.randn(4, 4, 4))

    def forward(self, x, pick):
        hidden = torch.einsum("nio,ni->no", self.up[pick], x).relu()
        return torch.einsum("nio,ni->no", self.down[pick], hidden)


class Net(nn.Module):
    def __init__(self, outside: bool = False) -> None:
        super().__init__()
        self.outside = outside
        self.router, self.experts, self.last = nn.Linear(4, 4), Experts(), nn.Linear(4, 2)

    def forward(self, x):
        pick = self.router(x).argmax(-1)
        y = self.experts(x, pick)
        if self.outside:
            y = y + torch.einsum("nio,ni->no", self.experts.up[pick], x)
        return self.last(x + y)


def zeroed(*experts: int, outside: bool = False) -> Net:
    torch.manual_seed(0)
    model = Net(outside).eval()
    with torch.no_grad():
        model.experts.up[list(experts)] = 0
        model.experts.down[list(experts)] = 0
    return model


def test_an_expert_is_dead_if_all_of_it_is_zero():
    model = zeroed(1)
    with torch.no_grad():
        model.experts.up[2] = 0  # as one that starts from zero
    (mixture,) = lp.couple(model, X).mixtures
    assert dead_experts(model, [mixture])[mixture].tolist() == [False, True, False, False]
    assert dead_experts(Net(), [mixture]) == {}


def test_the_plan_names_the_rows_that_are_left():
    model = zeroed(0, 3)
    masked = copy.deepcopy(model)
    lp.compact(model, X, latency=False)
    (edit,) = plan_of(model).edits["experts"]
    assert edit.correction == ReadRows(("up", "down"), (1, 2), 4)
    assert torch.equal(model(X), masked(X))


def test_weights_read_from_elsewhere_stay():
    model = zeroed(0, 3, outside=True)
    masked = copy.deepcopy(model)
    with pytest.raises(lp.VerificationError, match="read outside of the forward"):
        lp.compact(model, X, latency=False)
    assert torch.equal(model(X), masked(X))
    assert model.experts.up.shape == (4, 4, 4)


class Refusing(Unverified):
    def check(self, model, tolerances=None):
        raise lp.VerificationError("it computes something else")


def test_experts_come_back_where_the_smaller_model_is_refused():
    model = zeroed(0, 3)
    masked, examples = copy.deepcopy(model), [ExampleInputs((X,))]
    dead = dead_experts(model, lp.couple(model, X).mixtures)
    found = remove_experts(model, Surgery(model), examples, dead, Refusing(examples), {})
    assert found.refused == {"experts": "it computes something else"}
    assert model.experts.up.shape == (4, 4, 4)
    assert torch.equal(model(X), masked(X))


class Repeated(Experts):
    def forward(self, x, pick):
        return checkpoint(self.run, x, pick, use_reentrant=False)

    def run(self, x, pick):
        return super().forward(x, pick)


@pytest.mark.parametrize("inside", [True, False])
def test_weights_read_in_a_checkpoint_stay_unless_it_is_around_their_module(inside):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = zeroed(0, 3).experts

        def forward(self, x):
            return checkpoint(self.experts, x, x.argmax(-1), use_reentrant=False)

    model = Outer()
    if inside:
        model.experts.__class__ = Repeated
        with pytest.raises(lp.VerificationError, match="in a checkpoint inside of it"):
            lp.compact(model, X, latency=False)
        return
    masked = copy.deepcopy(model)
    lp.compact(model, X, latency=False)
    assert model.experts.up.shape == (2, 4, 4)
    for one in (model, masked):
        one(X).square().sum().backward()
    assert torch.equal(model.experts.up.grad, masked.experts.up.grad[[1, 2]])


def test_a_model_without_numbers_has_mixtures_too():
    with torch._subclasses.FakeTensorMode():
        model, x = Net(), torch.randn(6, 4)
    assert [mixture.name for mixture in lp.couple(model, x).mixtures] == ["experts"]


@pytest.mark.parametrize(
    "change",
    [
        {"correction": ReadRows(("up", "down"), (0, 1), 4)},
        {"correction": ReadRows(("up", "down"), (1, 2), 5)},
        {"correction": ReadRows(("up", "other"), (1, 2), 4)},
        {"path": (Position(0, 0, 0, 4),)},
        {"method": "extra_repr"},
    ],
    ids=str,
)
def test_a_file_with_other_rows_than_it_cuts_is_refused(change, tmp_path):
    model = zeroed(0, 3)
    lp.compact(model, X, latency=False)
    lp.save_compact(model, tmp_path / "small")
    file = CompactFile.read(tmp_path / "small")
    (edit,) = file.plan.edits["experts"]
    plan = replace(file.plan, edits={"experts": (replace(edit, **change),)})
    replace(file, plan=plan).write(tmp_path / "bad")
    fresh = Net()
    with pytest.raises(ValueError, match="Expected `model` to"):
        lp.load_compact(fresh, tmp_path / "bad")
    assert type(fresh.experts) is Experts
