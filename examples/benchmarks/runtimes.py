"""Compact models in other runtimes: are they still the same function?

    python examples/benchmarks/runtimes.py --output runtimes

Half of the units of every group of six small networks go at random, compaction removes them, and
what is left is exported to every runtime that is installed
(`pip install 'lightning-prune[export-onnx,export-openvino,export-executorch]'`), run there at
several batch sizes and compared with torch. Writes `OUTPUT.md`, a row for every model: parameters
before and after, and for every runtime the largest difference of the outputs over their scale. Ends
with an error if one is more than 1e-5.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models
from tqdm import tqdm

import lightning_prune as lp
from lightning_prune.display.tables import format_count, format_table
from lightning_prune.export import Exported
from lightning_prune.formats import FORMATS

RUNTIMES = {
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "executorch": "ExecuTorch",
    "torch.export": "torch.export",
}


def block(read: int, written: int) -> nn.Sequential:
    """A convolution, batch norm and ReLU."""
    convolution = nn.Conv2d(read, written, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(written), nn.ReLU())


class UNet(nn.Module):
    """Two levels down and up again, with skip connections."""

    def __init__(self, width: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.down = nn.MaxPool2d(2)
        self.first, self.second = block(3, width), block(width, 2 * width)
        self.bottom = block(2 * width, 4 * width)
        self.up_second = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.back_second = block(4 * width, 2 * width)
        self.up_first = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.back_first = block(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``[batch, 3, height, width]`` to ``[batch, classes, height, width]``."""
        first = self.first(images)
        second = self.second(self.down(first))
        up = self.up_second(self.bottom(self.down(second)))
        up = self.up_first(self.back_second(torch.cat([up, second], 1)))
        logits: Tensor = self.head(self.back_first(torch.cat([up, first], 1)))
        return logits


class Words(nn.Module):
    """An embedding, two layers of LSTM, and a head on the last step."""

    def __init__(self, width: int = 64, classes: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, width)
        self.lstm = nn.LSTM(width, 2 * width, 2, batch_first=True)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map whole numbers ``[batch, steps]`` to logits ``[batch, classes]``."""
        hidden: Tensor = self.lstm(self.embedding(tokens))[0]
        logits: Tensor = self.head(hidden[:, -1])
        return logits


def images(size: int) -> Tensor:
    """Make a batch of random images."""
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "ResNet-18": (lambda: models.resnet18(num_classes=10), images(64)),
    "MobileNetV3 small": (lambda: models.mobilenet_v3_small(num_classes=10), images(64)),
    "ViT": (
        lambda: models.VisionTransformer(32, 8, 4, 4, 96, 192, num_classes=10),
        images(32),
    ),
    "Swin": (
        lambda: models.SwinTransformer([4, 4], 32, [2, 2], [2, 4], [4, 4], num_classes=10),
        images(32),
    ),
    "U-Net": (UNet, images(32)),
    "LSTM": (Words, torch.arange(24).reshape(2, 12)),
}


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="*", help="glob pattern of the model's name")
    parser.add_argument("--output", type=Path, default=Path("runtimes"), help="without an ending")
    options = parser.parse_args()
    logging.getLogger("torch").setLevel(logging.ERROR)
    formats = []
    for name in RUNTIMES:
        missing = FORMATS[name].missing()
        if missing:
            print(f"{RUNTIMES[name]} is left out, for {', '.join(missing)} is not installed")
        else:
            formats.append(name)
    columns = ["model", "parameters", "compact", *(RUNTIMES[name] for name in formats)]
    rows = []
    for name in tqdm([name for name in MODELS if fnmatchcase(name, options.filter)]):
        rows.append([name, *_row(*MODELS[name], formats)])
        lines = ["| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)]
        options.output.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print(format_table(columns, rows))
    if any("failed" in cell for row in rows for cell in row):
        raise SystemExit("A compact model is not the same function in one of the runtimes.")


def _row(build: Callable[[], nn.Module], inputs: Tensor, formats: list[str]) -> list[str]:
    torch.manual_seed(0)
    model = _randomized(build()).eval()
    lp.prune(model, inputs, sparsity=0.5, criterion=lp.Random(), of="units")
    compaction = lp.compact(model, inputs, latency=False)
    with TemporaryDirectory() as folder:
        path = Path(folder, "small")
        report = lp.export_model(model, inputs, path, formats=formats, latency=False)
    counts = compaction.params_before, compaction.params_after
    return [*map(format_count, counts), *(_cell(report[name]) for name in formats)]


def _cell(row: Exported) -> str:
    if row.problem is not None:
        return f"failed: {row.problem.splitlines()[0]}"
    return f"{row.max_rel_error:.0e}"


def _randomized(model: nn.Module) -> nn.Module:
    """Give norms statistics and weights of their own, and what is all zeros other values."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]  # tracked here
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model


if __name__ == "__main__":
    main()
