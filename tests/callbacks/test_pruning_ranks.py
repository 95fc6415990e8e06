"""`Pruning` on several ranks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import lightning as L
import torch
from lightning_prune.callbacks.pruning import Pruning
from lightning_prune.granularities import Channel, Weight
from lightning_prune.schedules import Linear
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return self(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


L.seed_everything(0)
granularity = {"Weight": Weight, "Channel": Channel}[sys.argv[1]]()
pruning = Pruning(0.5, granularity=granularity, schedule=Linear(start_epoch=0, end_epoch=2))
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_epochs=3, callbacks=[pruning], logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)
data = DataLoader(TensorDataset(torch.randn(32, 4)), batch_size=4)
trainer.fit(Net(), data)
with open(f"{sys.argv[2]}/rank{trainer.global_rank}.txt", "w") as file:
    file.write(f"{pruning.pruner.fingerprint()} {pruning.pruner.sparsity}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["Weight", "Channel"])
def test_ranks_hold_the_same_masks(granularity: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), granularity, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    first, second = (path.read_text() for path in sorted(tmp_path.glob("rank*.txt")))
    assert first == second
    assert float(first.split()[-1]) == pytest.approx(0.5, abs=0.06)
