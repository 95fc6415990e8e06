"""Prune the channels of a small detector while it learns to find drawn shapes; compact it.

    python examples/detection/train.py fit --config examples/detection/prune.yaml

The detector has what makes real ones hard to prune: channels that are split and put side by side,
pooling at several sizes, a head at two scales.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from data import ShapesData
from lightning.pytorch.cli import LightningCLI
from model import ShapeDetector

import lightning_prune as lp


class DetectionCLI(LightningCLI):
    """The command line: `fit` goes on to test, save and report."""

    def after_fit(self) -> None:
        """Test the compact model and write it, and what came of it."""
        trainer, model, data = self.trainer, self.model, self.datamodule
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        (tested,) = trainer.test(model, data, verbose=False)
        folder = Path(str(trainer.log_dir))
        lp.save_compact(model, folder / "compact.safetensors")
        report = {**metrics, **tested}
        (folder / "report.json").write_text(json.dumps(report, indent=2, sort_keys=True))
        print(f"test F1 {tested['test/f1']:.3f}")
        print(folder / "report.json")


if __name__ == "__main__":
    DetectionCLI(
        ShapeDetector, ShapesData, seed_everything_default=0, save_config_kwargs={"overwrite": True}
    )
