"""Who keeps the full size of a module that has become compact, and what there is without."""

from __future__ import annotations

import pytest
import torch
from support.fits import Validated, data, make_trainer
from torch import nn

import lightning_prune as lp
from lightning_prune.callbacks.trainer.full_size import (
    KeepsFullSize,
    NeedsFullSize,
    full_size,
    keepers,
)


def test_a_compaction_keeps_it() -> None:
    compaction = lp.Compaction(during=True, min_gain=0.05, latency=False)
    assert isinstance(compaction, KeepsFullSize)
    model = Validated()
    shapes = [p.shape for p in model.parameters()]
    trainer = make_trainer(lp.Pruning(0.5), compaction)
    trainer.fit(model, data(), data())
    assert keepers(model) == [compaction]
    masked = full_size(model)
    assert [p.shape for p in masked.parameters()] == shapes
    assert sum(p.numel() for p in model.parameters()) < sum(s.numel() for s in shapes)
    x = next(iter(data()))[0]
    assert torch.allclose(masked.eval()(x), model.eval()(x), atol=1e-6)


def test_without_a_keeper_the_cure_is_named() -> None:
    assert keepers(nn.Linear(2, 2)) == []
    with pytest.raises(ValueError, match="Resume with the same callbacks"):
        full_size(Validated())


def test_who_compares_or_restores_wider_weights_says_why() -> None:
    guard = lp.AccuracyGuard("val_loss", max_drop=0.1, mode="min")
    assert isinstance(guard, NeedsFullSize)
    assert "roll back" in guard.needs_full_size()
    assert lp.Distillation().needs_full_size() is None
    assert not isinstance(lp.SparsityMonitor(), NeedsFullSize)
