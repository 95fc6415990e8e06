"""What callbacks tell the user while a model trains."""

from __future__ import annotations

import lightning as L
from tqdm import tqdm

from lightning_prune.callbacks.trainer.namespaces import classes
from lightning_prune.display.widths import terminal_width, wrap_all


def say(pl_module: L.LightningModule, *lines: str) -> None:
    """Print lines on rank zero, above the progress bar, in the width of the terminal."""
    print_as_is(pl_module, wrap_all(lines, terminal_width()))


def print_as_is(pl_module: L.LightningModule, what: object) -> None:
    """Print something as it is, on rank zero, also when the training has ended.

    By then, tqdm's progress bar is closed, and `LightningModule.print` would print nothing.
    """
    trainer = pl_module.trainer
    if not isinstance(trainer.progress_bar_callback, classes("callbacks", "TQDMProgressBar")):
        pl_module.print(what)
    elif trainer.is_global_zero:
        tqdm.write(str(what))
