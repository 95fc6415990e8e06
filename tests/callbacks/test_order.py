"""No order of callbacks breaks a guarantee, and two `Pruning` instances compose."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.fits import BATCHES, Validated, Watch, data, make_trainer

import lightning_prune as lp
from lightning_prune.schedules import Cubic, Linear

averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")

WEIGHTS = 8 * 2 * 9 + 6 * 8 * 9 + 3 * 6


def hybrid(**first: Any) -> tuple[lp.Pruning, lp.Pruning]:
    """Half of the channels, then 90% of all weights, those of the channels included."""
    channels = lp.Pruning(
        0.5,
        of="units",
        schedule=Linear(start_epoch=0, end_epoch=2),
        name="channels",
        **first,
    )
    weights = lp.Pruning(
        0.9,
        lp.Taylor(),
        granularity=lp.Weight(),
        schedule=Cubic(start_step=2 * BATCHES, end_step=4 * BATCHES, every=2),
        name="weights",
    )
    return channels, weights


def run(*callbacks: L.Callback, epochs: int = 6, **options: Any) -> Validated:
    model = Validated("AdamW")
    trainer = make_trainer(*callbacks, epochs=epochs, **options.pop("trainer", {}))
    trainer.fit(model, data(same=True), data(), **options)
    return model


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_every_order(order: tuple[int, ...]) -> None:
    channels, weights = hybrid()
    compaction = lp.Compaction(latency=False)
    watches = [Watch(channels), Watch(weights)]
    all_four = [channels, weights, averaging.EMAWeightAveraging(decay=0.5), compaction]
    model = run(*(all_four[i] for i in order), *watches)
    assert [watch.revived for watch in watches] == [0, 0]
    assert channels.pruner is not None
    assert weights.pruner is not None
    assert channels.pruner.sparsity == 0.5  # 7 of 14 channels
    assert weights.pruner.sparsity == pytest.approx(0.9, abs=1 / WEIGHTS)
    assert compaction.report is not None
    assert compaction.report.removed >= 7
    assert compaction.report.max_rel_error < 1e-4
    assert sum(p.numel() for p in model.parameters()) == compaction.report.params_after


def test_weights_go_within_the_channels_that_are_left() -> None:
    channels, weights = hybrid()
    model = run(channels, weights)
    assert channels.pruner is not None
    assert weights.pruner is not None
    for name, mask in channels.pruner.masks.items():
        if name in weights.pruner.masks:
            assert not (weights.pruner.masks[name] & ~mask).any()
    zeros = sum(int((p == 0).sum()) for p in model.parameters() if p.dim() > 1)
    assert zeros == WEIGHTS - round(0.1 * WEIGHTS)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_each_has_its_own_state(tmp_path: Path) -> None:
    whole, resumed = hybrid(), hybrid()
    save = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    one = run(*whole, save, trainer={"enable_checkpointing": True})
    other = run(*resumed[::-1], ckpt_path=tmp_path / "epoch=2.ckpt", weights_only=True)
    for a, b in zip(whole, resumed, strict=True):
        assert a.pruner is not None
        assert b.pruner is not None
        assert a.pruner.masks.fingerprint() == b.pruner.masks.fingerprint()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
