"""`Pruning` in a configuration file."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI
from support.schedule_examples import SCHEDULES, UNRESOLVED
from torch import Tensor, nn

from lightning_prune import allocations, criteria, granularities
from lightning_prune.allocations import ErdosRenyi, Global, PerLayer, Uniform
from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Gradient, Magnitude, SynFlow, Taylor
from lightning_prune.granularities import NM, Block, Channel, Weight
from lightning_prune.pruning import Auto, Candidate, Rewinding
from lightning_prune.regularizations import GroupLasso, GrowingL2
from lightning_prune.schedules import Cubic, OneShot, Regrow

PATH = "lightning_prune.callbacks.pruning.callback.Pruning"


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


WORDS = [
    *(("criterion", name) for name in criteria.__all__ if name != "Criterion"),
    *(("allocation", name) for name in allocations.__all__ if name != "Allocation"),
    ("granularity", "Weight"),
    ("granularity", "Channel"),
    ("granularity", "Head"),
    ("granularity", "Layer"),
    ("granularity", "NM"),
]
WITH_OPTIONS = [
    ("criterion", Taylor(squared=True)),
    ("criterion", SynFlow(iterations=7)),
    ("criterion", Magnitude(p=2)),
    ("granularity", Block(2, 4, reduce="max")),
    ("granularity", NM(1, 4)),
    ("granularity", Channel(reduce="l2", normalize="none", round_to=8, min_units=16)),
    ("allocation", PerLayer({"head": 0.3}, default=0.1, max_sparsity=0.9)),
    ("allocation", ErdosRenyi(kernel=False)),
    *(("schedule", p.values[0]) for p in [*SCHEDULES, *UNRESOLVED]),
]


def value_of(pruning: Pruning, argument: str) -> Any:
    return pruning.schedule if argument == "schedule" else getattr(pruning.recipe, argument)


@pytest.mark.parametrize(("argument", "name"), WORDS)
def test_every_word_is_a_short_name(tmp_path: Path, argument: str, name: str) -> None:
    family = {"criterion": criteria, "allocation": allocations, "granularity": granularities}
    pruning = parse(config(tmp_path, **{argument: name}))
    assert value_of(pruning, argument) == getattr(family[argument], name)()


@pytest.mark.parametrize(("argument", "value"), WITH_OPTIONS, ids=repr)
def test_every_option_comes_back(
    tmp_path: Path, argument: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    init = {f.name: getattr(value, f.name) for f in fields(value)}
    given = {"class_path": type(value).__name__, "init_args": init}
    arguments = {argument: given}
    # Only single weights and blocks regrow.
    if isinstance(value, Regrow):
        arguments["granularity"] = "Weight"
    first = config(tmp_path, **arguments)
    assert value_of(parse(first), argument) == value
    with pytest.raises(SystemExit, match="0"):
        parse(first, "--print_config")
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert value_of(parse(f"--config={path}"), argument) == value


@pytest.mark.parametrize(
    "regularization", [GrowingL2(strength=0.1, every=5, refresh=7), GroupLasso(strength=0.2)]
)
def test_rewinding_and_regularization_come_back(tmp_path: Path, regularization: Any) -> None:
    init = {f.name: getattr(regularization, f.name) for f in fields(regularization)}
    given = {"class_path": type(regularization).__name__, "init_args": init}
    pruning = parse(config(tmp_path, rewind={"epoch": 1}, regularization=given))
    assert pruning._run._rewinder._rewinding == Rewinding(epoch=1)
    assert pruning._run._shrinkage._regularization == regularization


def test_candidates_come_back(tmp_path: Path) -> None:
    tried = [
        {"class_path": "Magnitude", "init_args": {"p": 2}},
        {"criterion": "Taylor", "allocation": "Uniform"},
    ]
    auto = {"class_path": "Auto", "init_args": {"candidates": tried, "seconds": 5}}
    expected = Auto([Magnitude(p=2), Candidate(Taylor(), Uniform())], seconds=5.0)
    assert parse(config(tmp_path, criterion=auto)).recipe.criterion == expected


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
