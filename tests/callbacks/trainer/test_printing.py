"""What callbacks say is seen under every progress bar, also when the training has ended."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from support.fits import Net, data, make_trainer

from lightning_prune.callbacks.compaction import Compaction
from lightning_prune.callbacks.pruning import Pruning

BARS = {
    "none": [],
    "tqdm": [TQDMProgressBar],
    "tqdm, disabled": [lambda: TQDMProgressBar(refresh_rate=0)],
    "rich": [RichProgressBar],
}


@pytest.mark.parametrize("bar", BARS)
def test_updates_and_the_report_are_seen(bar: str, capsys: Any) -> None:
    bars = [make() for make in BARS[bar]]
    callbacks = [Pruning(0.5), Compaction(latency=False), *bars]
    make_trainer(*callbacks, epochs=2, enable_progress_bar=bool(bars)).fit(Net(), data())
    printed = capsys.readouterr().out
    assert "pruning, epoch 1: asked 0.500" in printed
    assert printed.count("units removed in 2 groups") == 1
