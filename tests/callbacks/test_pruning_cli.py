"""`Pruning` in a configuration file."""

import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn

from lightning_prune.allocations import Global, Uniform
from lightning_prune.callbacks.pruning import Pruning
from lightning_prune.criteria import Gradient, Taylor
from lightning_prune.granularities import Channel, Weight
from lightning_prune.schedules import Cubic, OneShot

PATH = "lightning_prune.callbacks.pruning.Pruning"


class Net(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.head(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(autouse=True)
def _own_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    # lightning calls a deprecated method of jsonargparse
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")


def parse(*args: str) -> Pruning:
    cli = LightningCLI(
        Net,
        run=False,
        save_config_callback=None,
        seed_everything_default=False,
        args=list(args),
    )
    return next(c for c in cli.trainer.callbacks if isinstance(c, Pruning))


def config(tmp_path: Path, **init_args: Any) -> str:
    callback = {"class_path": PATH, "init_args": {"sparsity": 0.5, **init_args}}
    trainer = {"accelerator": "cpu", "logger": False, "callbacks": [callback]}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"trainer": trainer}))
    return f"--config={path}"


def options(pruning: Pruning) -> dict[str, Any]:
    recipe = pruning.recipe
    names = ("sparsity", "criterion", "granularity", "allocation", "of", "include")
    return {name: getattr(recipe, name) for name in names} | {
        "exclude": list(recipe.exclude),
        "schedule": pruning.schedule,
        "name": pruning.name,
    }


def test_short_names(tmp_path: Path) -> None:
    pruning = parse(
        config(
            tmp_path,
            criterion="Taylor",
            granularity="Weight",
            allocation="Uniform",
            of="units",
            include=["head"],
            exclude=["body.*"],
            schedule={"class_path": "Cubic", "init_args": {"start_epoch": 2, "end_epoch": 12}},
        )
    )
    assert options(pruning) == {
        "sparsity": 0.5,
        "criterion": Taylor(),
        "granularity": Weight(),
        "schedule": Cubic(start_epoch=2, end_epoch=12),
        "allocation": Uniform(),
        "of": "units",
        "include": ["head"],
        "exclude": ["body.*"],
        "name": "pruning",
    }


def test_defaults(tmp_path: Path) -> None:
    pruning = parse(config(tmp_path))
    assert (pruning.recipe.criterion, pruning.recipe.granularity) == (Gradient(), Channel())
    assert (pruning.schedule, pruning.recipe.allocation) == (OneShot(epoch=1), Global())


def test_the_printed_configuration_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = config(tmp_path, criterion="Taylor", exclude=["head"])
    with pytest.raises(SystemExit, match="0"):
        parse(given, "--print_config")
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert options(parse(f"--config={path}")) == options(parse(given))


def test_a_misspelt_option_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(config(tmp_path, sparsty=0.5))
    assert "sparsty" in capsys.readouterr().err
