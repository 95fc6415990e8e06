"""What the README shows works as it stands there, in both namespaces of lightning."""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

README = (Path(__file__).parents[1] / "README.md").read_text()
NAMESPACES = ["lightning", "pytorch_lightning"]


def block(language: str, containing: str) -> str:
    (found,) = [
        code
        for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
        if containing in code
    ]
    return found


def run(code: str) -> dict[str, object]:
    """Run an example in a module of its own, as a script would."""
    namespace: dict[str, object] = {"__name__": "readme"}
    sys.modules["readme"] = type(sys)("readme")  # where source is looked up
    exec(code, namespace)
    return namespace


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def multiply_adds_left(printed: str) -> float:
    """What a printed report says; how much faster that is depends on the machine."""
    assert re.search(r"speed-up \d+\.\d\d \(.*\), measured in turns", printed)
    return 1 / float(re.search(r"MACs .* (\d+\.\d\d)x", printed)[1])


@pytest.fixture
def quiet(monkeypatch, tmp_path):
    """Let a plain `L.Trainer` write into a temporary folder only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_the_trainer_example_halves_a_resnet(quiet, capsys):
    model = run(block("python", "trainer.fit"))["model"]
    assert parameters(model) == pytest.approx(11_181_642 / 2, rel=0.01)
    printed = capsys.readouterr().out
    assert "pruning, epoch 4: asked 0.500, got 0." in printed
    assert multiply_adds_left(printed) < 0.6


@pytest.mark.parametrize("package", NAMESPACES)
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_the_yaml_example_runs_in_the_command_line(quiet, monkeypatch, package):
    pytest.importorskip(package)
    pl = import_module("lightning.pytorch" if package == "lightning" else package)
    cli_of = import_module(f"{pl.__name__}.cli").LightningCLI

    class Classifier(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def train_dataloader(self):
            generator = torch.Generator().manual_seed(0)
            images = torch.randn(32, 6, generator=generator)
            dataset = torch.utils.data.TensorDataset(images, (images.sum(1) > 0).long())
            return torch.utils.data.DataLoader(dataset, 16)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    Path("prune.yaml").write_text(block("yaml", "lightning_prune.Pruning"))
    # LightningCLI itself uses what jsonargparse deprecates.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.setattr("sys.argv", ["train.py", "fit", "--config", "prune.yaml"])
    cli = cli_of(Classifier, seed_everything_default=0)
    assert cli.model.net[0].out_features == 8
    assert cli.trainer.callbacks[0].schedule.last == 4


@pytest.mark.slow
def test_the_function_example_halves_a_resnet(quiet, capsys):
    namespace = run(block("python", "lp.prune("))
    model, small, x = (namespace[name] for name in ("model", "small", "x"))
    assert parameters(model) == pytest.approx(11_689_512 / 2, rel=0.02)
    assert namespace["report"].max_rel_error < 1e-5
    assert torch.equal(model.eval()(x), small.eval()(x))
    printed = capsys.readouterr().out
    assert "layer1.0.conv1" in printed
    assert multiply_adds_left(printed) < 0.6


@pytest.mark.slow
def test_the_example_of_a_plain_loop_halves_a_resnet(quiet, capsys):
    namespace = run(block("python", "lp.Pruner("))
    assert parameters(namespace["model"]) == pytest.approx(11_181_642 / 2, rel=0.01)
    assert multiply_adds_left(capsys.readouterr().out) < 0.6


def test_the_two_commands_are_one_line_each():
    commands = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)
