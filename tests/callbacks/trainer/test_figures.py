"""Loggers get figures in the way in which they take them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_prune.callbacks.trainer.figures import log_figures

NAMES = ("a", "b")


def log(*loggers: Any) -> None:
    figures = {name: Figure() for name in NAMES}
    log_figures(loggers, figures, {name: Path(f"{name}.png") for name in NAMES}, 7)


def test_tensorboard_shows_every_figure(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    log(logger)
    logger.finalize("success")
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    found.Reload()
    assert set(found.Tags()["images"]) == {"report/a", "report/b"}
    assert found.Images("report/a")[0].step == 7


def test_mlflow_gets_figures_as_artifacts_of_its_run() -> None:
    calls: list[Any] = []
    client = SimpleNamespace(log_figure=lambda *args: calls.append((args[0], args[2])))
    log(SimpleNamespace(experiment=client, run_id="run"))
    assert calls == [("run", "report/a.png"), ("run", "report/b.png")]


def test_others_get_pictures() -> None:
    calls: list[Any] = []

    def log_image(key: str, images: list[str], step: int) -> None:
        calls.append((key, images, step))

    log(SimpleNamespace(experiment=object(), log_image=log_image))
    assert calls == [("report/a", ["a.png"], 7), ("report/b", ["b.png"], 7)]


def test_a_logger_without_pictures_gets_none(tmp_path: Path) -> None:
    log(CSVLogger(tmp_path))


def test_a_failing_logger_is_warned_of_once_and_the_next_gets_its_figures() -> None:
    calls: list[str] = []

    def fail(*args: Any) -> None:
        raise OSError("no space")

    failing = SimpleNamespace(experiment=SimpleNamespace(add_figure=fail))
    working = SimpleNamespace(
        experiment=SimpleNamespace(add_figure=lambda name, *args: calls.append(name))
    )
    with pytest.warns(UserWarning, match="OSError: no space") as caught:
        log(failing, working)
    assert len(caught) == 1
    assert calls == ["report/a", "report/b"]
