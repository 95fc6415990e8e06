"""Prune the heads, the hidden units and the layers of a small BERT while it trains; compact it.

    python examples/transformers/train.py fit --config examples/transformers/prune.yaml

Needs `pip install transformers`. The smaller network is written as users of transformers do:
`config.json` and the weights. From them `AutoModelForSequenceClassification.from_config` builds the
network in full size, and `lp.load_compact` makes it small; its outputs are compared with those of
the one that was trained.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from data import TextData
from lightning.pytorch.cli import LightningCLI
from model import HEAD_SIZE, TextClassifier
from transformers import AutoConfig, AutoModelForSequenceClassification

import lightning_prune as lp


class TextCLI(LightningCLI):
    """The command line: `fit` goes on to save, load, test and report."""

    def after_fit(self) -> None:
        """Write the compact network, read it again, compare, report."""
        trainer, model, data = self.trainer, self.model, self.datamodule
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        folder = Path(str(trainer.log_dir))
        model.net.config.save_pretrained(folder)
        lp.save_compact(model.net, folder / "compact.safetensors")

        full = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(folder))
        small = lp.load_compact(full, folder / "compact.safetensors").eval()
        texts = next(iter(data.val_dataloader()))[0]
        with torch.no_grad():
            metrics["same_as_trained"] = torch.equal(small(texts).logits, model.eval()(texts))
        (tested,) = trainer.test(model, data, verbose=False)
        report = {**metrics, **tested, "left": left(model)}
        (folder / "report.json").write_text(json.dumps(report, indent=2, sort_keys=True))
        print(f"test accuracy {tested['test/accuracy']:.4f}, left: {report['left']}")
        print(folder / "report.json")


def left(model: TextClassifier) -> dict[str, list[int]]:
    """Return how many heads and hidden units every layer has; none where its branch is gone."""
    layers = model.net.bert.encoder.layer
    return {
        "heads": [layer.attention.self.value.weight.shape[0] // HEAD_SIZE for layer in layers],
        "hidden units": [layer.intermediate.dense.weight.shape[0] for layer in layers],
    }


if __name__ == "__main__":
    TextCLI(
        TextClassifier,
        TextData,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
    )
