"""Everything can be built from a configuration file, and what is wrong is said in one line."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from support.fits import Net, data

import lightning_prune as lp

CALLBACKS = sorted(
    name for name in lp.__all__ if inspect.isclass(getattr(lp, name)) and issubclass(
        getattr(lp, name), L.Callback
    )
)  # fmt: skip
PRUNING = {
    "class_path": "lightning_prune.Pruning",
    "init_args": {
        "sparsity": 0.5,
        "criterion": "Taylor",
        "granularity": "Weight",
        "schedule": {"class_path": "Linear", "init_args": {"start_epoch": 0, "end_epoch": 2}},
        "restart_early_stopping": True,
    },
}
COMPACTION = {
    "class_path": "lightning_prune.Compaction",
    "init_args": {"monitor": "val_loss", "mode": "max", "latency": False, "path": "x"},
}


class Model(Net):
    """With its own data."""

    def train_dataloader(self) -> Any:
        return data()


@pytest.fixture(autouse=True)
def _own_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.chdir(tmp_path)
    # lightning calls a deprecated method of jsonargparse
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")


class Linked(LightningCLI):
    """Always prunes, until two epochs before the end."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(lp.Pruning, "pruning")
        parser.set_defaults(
            {
                "pruning.sparsity": 0.5,
                "pruning.granularity": "Weight",
                "pruning.schedule": {
                    "class_path": "Linear", "init_args": {"start_epoch": 0, "end_epoch": 1}
                },
            }
        )  # fmt: skip
        parser.link_arguments(
            "trainer.max_epochs",
            "pruning.schedule.init_args.end_epoch",
            compute_fn=lambda epochs: epochs - 2,
        )


def command(*args: str, cli: type[LightningCLI] = LightningCLI, **options: Any) -> LightningCLI:
    options = {"save_config_callback": None, "seed_everything_default": 0, **options}
    return cli(Model, args=list(args), **options)


def config(*callbacks: Any, **trainer: Any) -> str:
    options = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": 4,
        "callbacks": list(callbacks),
    } | trainer
    Path("config.yaml").write_text(yaml.safe_dump({"trainer": options}))
    return "--config=config.yaml"


def test_every_callback_can_be_built_with_its_defaults() -> None:
    given: list[Any] = [{"class_path": f"lightning_prune.{name}"} for name in CALLBACKS]
    for one in given:
        if one["class_path"].endswith(".Pruning"):
            one["init_args"] = {"sparsity": 0.5}
        if one["class_path"].endswith(".AccuracyGuard"):
            one["init_args"] = {"monitor": "acc", "max_drop": 0.1}
        if one["class_path"].endswith(".Export"):
            one["init_args"] = {"path": "exported"}
    cli = command(config(*given), run=False)
    built = {type(callback).__name__ for callback in cli.trainer.callbacks}
    assert set(CALLBACKS) <= built


def test_options_reach_the_callbacks() -> None:
    cli = command(config(PRUNING, COMPACTION), run=False)
    pruning, compaction = cli.trainer.callbacks[:2]
    assert pruning.recipe.criterion == lp.Taylor()
    assert pruning.restart_early_stopping
    assert (compaction.monitor, compaction.mode, compaction.path) == ("val_loss", "max", "x")


@pytest.mark.parametrize("features", [["body.0"], {"body.0": 0.5}], ids=str)
def test_a_teacher_and_features_come_from_a_file(features: Any) -> None:
    teacher = {"class_path": "support.fits.Net"}
    options = {"teacher": teacher, "features": features, "temperature": 2, "output": "head"}
    given = {"class_path": "lightning_prune.Distillation", "init_args": options}
    cli = command("fit", config(given, max_epochs=1))
    assert cli.trainer.callback_metrics["distillation/loss"] > 0
    (callback,) = [c for c in cli.trainer.callbacks if isinstance(c, lp.Distillation)]
    assert isinstance(callback.teacher, Net)
    assert callback.lesson.features == {"body.0": 0.5 if isinstance(features, dict) else 1.0}


@pytest.mark.parametrize("name", CALLBACKS)
def test_help_tells_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command(f"--trainer.callbacks.help=lightning_prune.{name}", run=False)
    printed = re.sub(r"\s+", " ", capsys.readouterr().out)
    for option in inspect.signature(getattr(lp, name).__init__).parameters:
        if option != "self":
            text = printed[printed.rindex(f".{option} ") :].partition("(")[0]
            assert re.search("[a-z]{2,} [a-z]{2,}", text), option


@pytest.mark.parametrize(
    ("callback", "named"),
    [
        ({"class_path": "lightning_prune.Pruning", "init_args": {"sparsty": 0.5}}, "sparsty"),
        (
            {
                "class_path": "lightning_prune.Pruning",
                "init_args": {"sparsity": 0.5, "criterion": "Tailor"},
            },
            "Tailor",
        ),
        ({"class_path": "lightning_prune.Compaction", "init_args": {"moniter": "a"}}, "moniter"),
        ({"class_path": "lightning_prune.Compaction", "init_args": {"mode": "low"}}, "low"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(
    callback: Any, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(config(callback), run=False)
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert any(named in line for line in errors.splitlines())


def test_a_schedule_is_linked_to_the_length_of_the_training() -> None:
    cli = command(config(max_epochs=7), cli=Linked, run=False)
    (pruning,) = [c for c in cli.trainer.callbacks if isinstance(c, lp.Pruning)]
    assert pruning.schedule == lp.Linear(start_epoch=0, end_epoch=5)


def test_values_that_are_wrong_together_are_caught_before_the_first_step() -> None:
    with pytest.raises(ValueError, match=r"epoch 1 or earlier, as max_epochs is 2, but got Linear"):
        command("fit", config(PRUNING, max_epochs=2))


def test_a_saved_configuration_reproduces_the_run() -> None:
    first = command("fit", config(PRUNING, default_root_dir="run"), save_config_callback=_saving())
    second = command("fit", "--config=run/config.yaml")
    masks = []
    for cli in (first, second):
        (pruning,) = [c for c in cli.trainer.callbacks if isinstance(c, lp.Pruning)]
        assert pruning.pruner is not None
        masks.append(pruning.pruner.masks.fingerprint())
    assert masks[0] == masks[1]
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def _saving() -> Any:
    from lightning.pytorch.cli import SaveConfigCallback

    return SaveConfigCallback
