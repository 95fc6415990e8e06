"""A digits run that is killed by SIGKILL at random moments and resumed, as a script.

``python killing.py FOLDER TIMES`` prints one line of JSON. Every run is a process of its own,
forked from this one, which only imports and waits: so twenty runs take as long as one start of
Python and their few steps.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp
from support.fits import SAFELY

EPOCHS = 8


class Digits(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)
        )
        self.example_input_array = torch.zeros(2, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def train(folder: Path, data: TensorDataset, checkpoint: Path | None) -> None:
    """Train to the end and write a digest of masks and weights."""
    L.seed_everything(0, verbose=False)
    channels = lp.Pruning(
        0.4,
        include=["net.0"],
        schedule=lp.Linear(start_epoch=0, end_epoch=4),
        of="units",
        name="channels",
    )
    weights = lp.Pruning(
        0.8,
        lp.Taylor(),
        granularity=lp.Weight(),
        schedule=lp.Cubic(start_step=10, end_step=60, every=5),
        name="weights",
    )
    save = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        callbacks=[weights, channels, save],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Digits()
    trainer.fit(model, DataLoader(data, batch_size=64), ckpt_path=checkpoint, **SAFELY)
    # A run that was killed after its last checkpoint has nothing left to do, nor a pruner.
    states = [pruning.state_dict() for pruning in (channels, weights)]
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    result = {
        "masks": [[kept.tolist() for kept in state["pruner"]["kept"]] for state in states],
        "sparsity": [state["sparsity"] for state in states],
        "weights": digest.hexdigest(),
    }
    (folder / "result.json").write_text(json.dumps(result))


def start(*arguments: Any) -> int:
    """Train in a process of its own and return its id."""
    process = os.fork()
    if process:
        return process
    try:
        train(*arguments)
    finally:
        os._exit(0)  # no clean-up of the parent's


def main(folder: Path, times: int) -> dict[str, Any]:
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images[:512], dtype=torch.float32).view(-1, 1, 8, 8) / 16
    data = TensorDataset(x, torch.tensor(labels[:512]))
    began = time.monotonic()
    os.waitpid(start(_made(folder / "whole"), data, None), 0)
    duration = time.monotonic() - began
    runs = []
    for index in range(times):
        one = _made(folder / str(index))
        process = start(one, data, None)
        generator = random.Random(index)
        _wait_for(one, checkpoints=generator.randrange(EPOCHS))
        time.sleep(generator.uniform(0.0, duration / EPOCHS))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        (one / "result.json").unlink(missing_ok=True)
        # Loading every file finds a corrupt one.
        states = {path: torch.load(path, weights_only=True) for path in one.glob("*.ckpt")}
        last = max(states, key=lambda path: states[path]["global_step"], default=None)
        os.waitpid(start(one, data, last), 0)
        runs.append({"resumed from": last and last.name, **_result(one)})
    return {"whole": _result(folder / "whole"), "runs": runs}


def _wait_for(folder: Path, checkpoints: int) -> None:
    """Wait until a run is so far, however fast it is."""
    while len(list(folder.glob("*.ckpt"))) < checkpoints:
        time.sleep(0.001)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text()))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
