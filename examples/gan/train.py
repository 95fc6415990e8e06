"""Train a small GAN on handwritten digits, prune both networks while it trains, compact both.

    python examples/gan/train.py                     # about a minute on a CPU
    python examples/gan/train.py --epochs 6 --folder runs/short

Two optimizers step in turns (manual optimization), and two `Pruning` callbacks follow one network
each: the generator loses half of its prunable parameters, the critic a third, on schedules of their
own. At the end of fit, `Compaction` removes the channels of both and proves that the compact pair
computes what the masked one computed. `digits.png` shows what the compact generator draws.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp


class Gan(L.LightningModule):
    """A generator that draws digits of 8 x 8 pixels, and a critic that tells them from real ones.

    Args:
        noise: size of what the generator starts from.
        width: channels of the widest layer of both.
    """

    def __init__(self, noise: int = 16, width: int = 64) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.noise = noise
        self.generator = nn.Sequential(
            nn.Unflatten(1, (noise, 1, 1)),
            nn.ConvTranspose2d(noise, width, 2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.ConvTranspose2d(width // 2, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.critic = nn.Sequential(
            nn.Conv2d(1, width // 2, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(width * 4, 1),
        )
        # Both networks run in `forward`, so that the channels of both are found.
        self.example_input_array = torch.zeros(64, noise)

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return drawn digits, shape ``[batch, 1, 8, 8]``, and what the critic says of them."""
        drawn = self.generator(noise)
        return drawn, self.critic(drawn)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Let the critic learn, then the generator."""
        (real,) = batch
        draw, tell = self.optimizers()  # type: ignore[attr-defined]  # a list, for there are two
        drawn = self.generator(torch.randn(len(real), self.noise, device=self.device))

        told = (
            F.softplus(-self.critic(real)).mean() + F.softplus(self.critic(drawn.detach())).mean()
        )
        tell.zero_grad()
        self.manual_backward(told)
        tell.step()

        fooled = F.softplus(-self.critic(drawn)).mean()
        draw.zero_grad()
        self.manual_backward(fooled)
        draw.step()
        self.log_dict({"loss/critic": told, "loss/generator": fooled}, on_epoch=True, on_step=False)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimizer for each network."""
        return [
            torch.optim.Adam(network.parameters(), lr=2e-3, betas=(0.5, 0.99))
            for network in (self.generator, self.critic)
        ]


def callbacks(epochs: int, folder: Path) -> list[L.Callback]:
    """Return two prunings on schedules of their own, and the compaction of both."""
    return [
        lp.Pruning(
            0.5,
            include=["generator.*"],
            schedule=lp.Cubic(start_epoch=epochs // 6, end_epoch=epochs // 2),
            name="generator",
        ),
        lp.Pruning(
            0.33,
            lp.Taylor(),
            include=["critic.*"],
            schedule=lp.Linear(start_epoch=epochs // 6, end_epoch=2 * epochs // 3),
            name="critic",
        ),
        lp.Compaction(path=str(folder / "compact.safetensors")),
    ]


def parameters(network: nn.Module) -> int:
    """Count the parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def main(epochs: int, folder: Path) -> None:
    """Train, compact, check the file that was written, draw."""
    L.seed_everything(0)
    folder.mkdir(parents=True, exist_ok=True)
    images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    data = DataLoader(TensorDataset(images), batch_size=64, shuffle=True, drop_last=True)
    model = Gan()
    before = {name: parameters(network) for name, network in model.named_children()}
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=callbacks(epochs, folder),
        logger=CSVLogger(folder, name="logs"),
        log_every_n_steps=10,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}

    small = lp.load_compact(Gan(), folder / "compact.safetensors").eval()
    noise = torch.randn(64, model.noise)
    with torch.no_grad():
        drawn, told = small(noise)
        again = model.eval()(noise)
    report: dict[str, Any] = {
        name: {"before": before[name], "after": parameters(network)}
        for name, network in small.named_children()
    }
    report["same_as_trained"] = all(
        torch.equal(a, b) for a, b in zip((drawn, told), again, strict=True)
    )
    report["sparsity"] = {name: metrics[f"{name}/sparsity"] for name in before}
    report["max_rel_error"] = next(
        c.report.max_rel_error
        for c in trainer.callbacks  # type: ignore[attr-defined]  # lightning sets it from afar
        if isinstance(c, lp.Compaction) and c.report is not None
    )
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    grid = drawn.view(4, 16, 8, 8).permute(0, 2, 1, 3).reshape(32, 128)
    plt.imsave(folder / "digits.png", grid.numpy(), cmap="gray_r")
    for name in before:
        print(f"{name}: {report[name]['before']} parameters before, {report[name]['after']} after")
    print(folder / "report.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40, help="at least 6")
    parser.add_argument("--folder", type=Path, default=Path("runs/gan"), help="where to write")
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.folder)
