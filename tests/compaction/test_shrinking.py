"""The stages of a compaction leave a model small, and can all be undone."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_prune.compaction.shrinking import Shrinking
from lightning_prune.compaction.verification import TOLERANCES, Errors, Unverified
from lightning_prune.coupling import couple
from lightning_prune.errors import VerificationError
from lightning_prune.modules.inputs import ExampleInputs

X = ExampleInputs((torch.randn(2, 4),))


def masked() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight[:5] = 0
        model[0].bias[:5] = 0
    return model


def test_all_stages_can_be_undone_together() -> None:
    model = masked()
    shrinking = Shrinking(model, [X])
    shrunk = shrinking.run(couple(model, X))
    assert model[0].out_features == 3
    assert shrunk.plan.removed == 5
    assert "train mode" in shrinking.tried
    shrinking.surgery.undo()
    assert model[0].out_features == 8


def test_without_verification_nothing_is_tried() -> None:
    model = masked()
    shrinking = Shrinking(model, [X], verified=False, round_to=2)
    shrinking.run(couple(model, X))
    assert model[0].out_features == 4
    assert shrinking.tried == ()


class RefusingOnce(Unverified):
    """Refuses the first model that it is shown."""

    refuses = True

    def check(
        self, model: nn.Module, tolerances: Mapping[torch.dtype, float] = TOLERANCES
    ) -> Errors:
        if self.refuses:
            self.refuses = False
            raise VerificationError("it computes something else")
        return super().check(model, tolerances)


def test_constants_that_are_refused_are_taken_back() -> None:
    model = masked()
    with torch.no_grad():
        model[0].bias[:5] = 1
    before = copy.deepcopy(model.state_dict())
    shrinking = Shrinking(model, [X])
    shrinking.check = RefusingOnce([X])
    shrunk = shrinking.run(couple(model, X))
    assert shrunk.constants.kept == {"0": "its constant: it computes something else"}
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


class Slicing(nn.Module):
    """The width of ``a`` decides which code runs, so that none of its units can go."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(4, 12), nn.Linear(12, 12)
        self.b, self.out = nn.Linear(12, 10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y = y.sign() * self.c(y)
        y = y[..., :12] if y.shape[-1] >= 12 else F.pad(y, (0, 12 - y.shape[-1]))
        out: Tensor = self.out(self.b(y).relu())
        return out


def test_what_reads_a_group_that_is_refused_keeps_its_weights() -> None:
    model = Slicing()
    with torch.no_grad():
        model.a.weight[[1, 4]], model.a.bias[[1, 4]] = 0, 0
        model.b.weight[:3], model.b.bias[:3] = 0, 0
    before = model.c.weight.clone()
    shrunk = Shrinking(model, [X]).run(couple(model, X))
    assert list(shrunk.refused) == ["a"]
    assert model.b.out_features == 7
    assert torch.equal(model.c.weight, before)
