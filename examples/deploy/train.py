"""From training to the files that ship: what pruning, another runtime and eight bits each bring.

    pip install 'lightning-prune[examples,export-onnx,export-openvino,export-executorch]'
    python examples/deploy/train.py fit --config examples/deploy/deploy.yaml

The network and the data are those of `examples/digits`. Formats whose runtime is not installed are
named and left out. The table has the dense network, trained as long without pruning, also in ONNX
Runtime; the masked one; and the compact one in torch and in every runtime, with the accuracy that
the file itself has there. Everything goes into `deploy.json` in the log directory.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.display.tables import format_bytes, format_table
from lightning_prune.export import Exported
from lightning_prune.formats import FORMATS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "digits"))
from data import DigitsData
from model import DigitsClassifier

RUNTIMES = {
    "torch": "torch",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "executorch": "ExecuTorch",
    "torch.export": "torch.export",
    "onnx-int8-dynamic": "ONNX Runtime, int8, dynamic",
    "onnx-int8-static": "ONNX Runtime, int8, static",
}


class DeployCLI(LightningCLI):
    """The command line: `fit` goes on to make the table."""

    def before_instantiate_classes(self) -> None:
        """Leave out the formats whose runtime is not installed, and name them."""
        for callback in self.config["fit"]["trainer"]["callbacks"]:
            if callback["class_path"] == "lightning_prune.Export":
                formats = callback["init_args"]["formats"]
                for name in [name for name in formats if FORMATS[name].missing()]:
                    missing = ", ".join(FORMATS[name].missing())
                    print(f"{RUNTIMES[name]} is left out: {missing} is not installed")
                    formats.remove(name)

    def after_fit(self) -> None:
        """Compare the dense, the masked and the compact network in every runtime."""
        trainer: Any = self.trainer
        model, data = self.model, self.datamodule
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        (export,) = [one for one in trainer.callbacks if isinstance(one, lp.Export)]
        folder = Path(trainer.loggers[0].log_dir or ".")
        saved = trainer.checkpoint_callback.last_model_path  # in full size
        masked = DigitsClassifier.load_from_checkpoint(saved, weights_only=True)
        dense = _trained(type(masked)(**masked.hparams), data, trainer.max_epochs)
        x = model.example_input_array
        if export.report is None:
            raise SystemExit("Nothing was exported: see the warning above.")

        rows = _rows("dense", dense, _exported(dense, x, folder / "dense"), data)
        rows += _rows("masked", masked, _exported(masked, x, folder / "masked"), data)
        rows += _rows("compact", model, export.report, data)
        table = json.dumps([asdict(row) for row in rows], indent=2)
        (folder / "deploy.json").write_text(table)
        columns = ["network", "runtime", "size", "p50 ms", "test accuracy"]
        print(format_table(columns, [row.cells() for row in rows]))
        print(f"latency at batch {len(x)}, threads: {torch.get_num_threads()}")
        print(folder / "deploy.json")


@dataclass(frozen=True)
class Row:
    """One way to deploy the network."""

    network: str
    runtime: str
    size_bytes: int | None
    p50_ms: float | None
    accuracy: float

    def cells(self) -> list[str]:
        """Return the cells of the table."""
        size, p50 = format_bytes(self.size_bytes or 0), f"{self.p50_ms or 0:.3f}"
        return [self.network, self.runtime, size, p50, f"{self.accuracy:.4f}"]


def _trained(model: DigitsClassifier, data: DigitsData, epochs: int | None) -> DigitsClassifier:
    """Train as long without pruning."""
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return model


def _exported(model: nn.Module, x: Tensor, path: Path) -> lp.ExportReport:
    return lp.export_model(model, x, path, formats=["onnx"])


def _rows(network: str, model: nn.Module, report: lp.ExportReport, data: DigitsData) -> list[Row]:
    """Return a row for the network itself and one for each of its files."""
    rows = []
    for name, row in report.rows.items():
        if row.problem is None:
            run = _runner(name, row, model)
            accuracy = _accuracy(run, data, report.batch_size)
            rows.append(Row(network, RUNTIMES[name], row.size_bytes, row.p50_ms, accuracy))
        else:
            print(f"{RUNTIMES[name]} is left out: {row.problem}")
    return rows


def _runner(name: str, row: Exported, model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what maps images to logits: the model, or a file in its runtime."""
    if row.path is None:
        return model.eval()
    run = FORMATS[name].load(Path(row.path))
    return lambda images: run({"x": images})[0]


@torch.no_grad()
def _accuracy(run: Callable[[Tensor], Tensor], data: DigitsData, batch_size: int) -> float:
    images, digits = data.test.tensors
    found = torch.cat([run(batch).argmax(1) for batch in images.split(batch_size)])
    return float((found == digits).float().mean())


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*LeafSpec")
    DeployCLI(
        DigitsClassifier,
        DigitsData,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
    )
