"""What the README shows works as it stands there."""

import re
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

README = (Path(__file__).parents[1] / "README.md").read_text()


def block(language: str, containing: str) -> str:
    (found,) = [
        code
        for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
        if containing in code
    ]
    return found


class Model(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class Data(L.LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(32, 6, generator=generator)
        return DataLoader(TensorDataset(images, (images.sum(1) > 0).long()), 16)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.fixture
def quiet(monkeypatch, tmp_path):
    """Let a plain `L.Trainer` write into a temporary folder only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_the_trainer_example_halves_the_prunable_parameters(quiet):
    model, data = Model(), Data()
    before, head_bias = parameters(model), 3
    namespace = {"model": model, "data": data}
    exec(block("python", "trainer.fit"), namespace)
    # One unit of either layer holds at most 6 + 1 + 16 + 3 + 1 elements.
    assert parameters(model) - head_bias == pytest.approx((before - head_bias) / 2, abs=36)
    assert model.body[0].out_features < 16


def test_the_yaml_example_runs_in_the_command_line(quiet, monkeypatch):
    from lightning.pytorch.cli import LightningCLI

    Path("prune.yaml").write_text(block("yaml", "lightning_prune.Pruning"))
    # LightningCLI itself uses what jsonargparse deprecates.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.setattr("sys.argv", ["train.py", "fit", "--config", "prune.yaml"])
    cli = LightningCLI(Model, Data, seed_everything_default=0)
    assert cli.model.body[0].out_features < 16
    assert cli.trainer.callbacks[0].schedule.last == 12


@pytest.mark.slow
def test_the_function_example_leaves_a_convolution_of_32_channels(quiet, capsys):
    namespace: dict[str, object] = {}
    exec(block("python", "lp.prune("), namespace)
    model, small = namespace["model"], namespace["small"]
    assert model.layer1[0].conv1.out_channels == small.layer1[0].conv1.out_channels == 32
    assert namespace["report"].max_rel_error < 1e-5
    x = namespace["x"]
    assert torch.equal(model.eval()(x), small.eval()(x))
    assert "layer1.0.conv1" in capsys.readouterr().out


def test_the_two_commands_are_one_line_each():
    commands = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)
