"""What callbacks tell the user while a model trains."""

from __future__ import annotations

import lightning as L

from lightning_prune.display.widths import terminal_width, wrap_all


def say(pl_module: L.LightningModule, *lines: str) -> None:
    """Print lines on rank zero, above the progress bar, in the width of the terminal."""
    pl_module.print(wrap_all(lines, terminal_width()))
