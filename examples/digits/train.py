"""Train on handwritten digits, prune on the way, compact at the end, and report.

    python examples/digits/train.py fit --config examples/digits/channel.yaml

`channel.yaml` prunes channels gradually, `layer.yaml` whole residual branches, `weight.yaml` single
weights in one shot with recovery, `dense.yaml` is the control. Every run writes its page,
`report.html`, into its log directory, tests the masked and the compact model, and adds what that
gave, with every logged metric by its key, to `report.json`.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import lightning as L
from data import DigitsData
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger
from model import DigitsClassifier

import lightning_prune as lp


class DigitsCLI(LightningCLI):
    """The command line: `fit` goes on to test and report."""

    def after_fit(self) -> None:
        """Test before and after compaction, complete the report."""
        trainer, model, data = self.trainer, self.model, self.datamodule
        if getattr(trainer, "fast_dev_run", False):
            return
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}

        # The last checkpoint holds the masked model of full size.
        saved = getattr(trainer.checkpoint_callback, "last_model_path", "")
        masked = DigitsClassifier.load_from_checkpoint(saved, weights_only=True)
        metrics["test/accuracy_before_compaction"] = _test_accuracy(masked, data)
        metrics["test/accuracy_after_compaction"] = _test_accuracy(model, data)

        folder = _log_dir(trainer)
        lp.save_compact(model, folder / "compact.safetensors")
        path = folder / "report.json"
        report = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(report | metrics, indent=1))
        before, after = (metrics[f"test/accuracy_{w}_compaction"] for w in ("before", "after"))
        print(f"test accuracy {before:.4f} before compaction, {after:.4f} after")
        print(path)


def _test_accuracy(model: DigitsClassifier, data: DigitsData) -> float:
    trainer = L.Trainer(
        accelerator="auto",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    (results,) = trainer.test(model, data, verbose=False)
    return float(results["test/accuracy"])


def _log_dir(trainer: L.Trainer) -> Path:
    logger = next(logger for logger in trainer.loggers if isinstance(logger, CSVLogger))
    return Path(logger.log_dir)


def _keep_quiet() -> None:
    """Leave out what lightning says of a deprecated part of torch, and of another product."""
    warnings.filterwarnings("ignore", message=".*LeafSpec")
    says = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    says.addFilter(lambda record: "litlogger" not in record.getMessage())


if __name__ == "__main__":
    _keep_quiet()
    DigitsCLI(
        DigitsClassifier,
        DigitsData,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
    )
