"""Fine-tune a network of torchvision, prune it to half of its milliseconds, compact and export it.

    python examples/transfer/train.py fit --config examples/transfer/prune.yaml

With `--model.weights DEFAULT` it starts from torchvision's weights, which are downloaded. The
export needs `pip install 'lightning-prune[export-onnx]'`.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from data import DigitImages
from lightning.pytorch.cli import LightningCLI
from model import FineTuned

import lightning_prune as lp


class TransferCLI(LightningCLI):
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
        print(f"test accuracy {tested['test/accuracy']:.4f}")
        print(folder / "report.json")


if __name__ == "__main__":
    TransferCLI(
        FineTuned, DigitImages, seed_everything_default=0, save_config_kwargs={"overwrite": True}
    )
