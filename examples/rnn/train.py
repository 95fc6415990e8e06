"""Prune the hidden units of an LSTM that forecasts a recording, while it trains; compact it.

    python examples/rnn/train.py fit --config examples/rnn/prune.yaml

Needs `pip install matplotlib`, which ships the recording. The error is told relative to that of a
forecast that nothing changes: below 1 is better.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from data import EegData
from lightning.pytorch.cli import LightningCLI
from model import Forecaster

import lightning_prune as lp


class ForecastCLI(LightningCLI):
    """The command line: `fit` goes on to test, save and report."""

    def after_fit(self) -> None:
        """Test the compact model and write it, and what came of it."""
        trainer, model, data = self.trainer, self.model, self.datamodule
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        (tested,) = trainer.test(model, data, verbose=False)
        folder = Path(str(trainer.log_dir))
        lp.save_compact(model, folder / "compact.safetensors")
        widths = [model.rnn.weight_hh_l0.shape[1], model.rnn.weight_hh_l1.shape[1]]
        report = {**metrics, **tested, "hidden_units": widths}
        (folder / "report.json").write_text(json.dumps(report, indent=2, sort_keys=True))
        print(f"test error {tested['test/relative_error']:.3f}, hidden units {widths}")
        print(folder / "report.json")


if __name__ == "__main__":
    ForecastCLI(
        Forecaster, EegData, seed_everything_default=0, save_config_kwargs={"overwrite": True}
    )
