"""Figures to the loggers of a Trainer, as far as these take some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_warn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def log_figures(
    loggers: Sequence[Any], figures: Mapping[str, Figure], pictures: Mapping[str, Path], step: int
) -> None:
    """Log figures; a logger that fails is warned of once.

    TensorBoard takes them by ``add_figure``, MLflow by ``log_figure``, and whatever has a
    ``log_image``, such as the logger of Weights & Biases, by their pictures.

    Args:
        loggers: those of the Trainer.
        figures: by name.
        pictures: PNG files of the same.
        step: at which they are logged.
    """
    for logger in loggers:
        try:
            for name, figure in figures.items():
                _log(logger, f"report/{name}", figure, pictures[name], step)
        except Exception as error:  # whatever a logger raises
            rank_zero_warn(
                f"{type(logger).__name__} did not take the figures of the report: "
                f"{type(error).__name__}: {error}"
            )


def _log(logger: Any, name: str, figure: Figure, picture: Path, step: int) -> None:
    experiment = logger.experiment
    if hasattr(experiment, "add_figure"):
        experiment.add_figure(name, figure, step)
    elif hasattr(experiment, "log_figure") and hasattr(logger, "run_id"):
        experiment.log_figure(logger.run_id, figure, f"{name}.png")
    elif hasattr(logger, "log_image"):
        logger.log_image(name, [str(picture)], step=step)
