"""The stages of a compaction leave a model small, and can all be undone."""

from __future__ import annotations

import torch
from torch import nn

from lightning_prune.compaction.shrinking import Shrinking
from lightning_prune.coupling import couple
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
