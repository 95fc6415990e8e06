"""What every format has: how a file is written, and how it runs in the runtime that it is for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from lightning_prune.formats.program import Exportable

Runner = Callable[[Mapping[str, Tensor]], list[Tensor]]
"""Runs a file on tensors by the name of the input; returns its outputs in the model's order."""


class Format(ABC):
    """A format of files for another runtime.

    A runner uses as many threads as torch does, and the CPU.

    Attributes:
        suffix: ending of the file's name.
        packages: what has to be installed.
        extra: the extra of this package that installs them; None where torch is enough.
        exact: whether the file computes in the model's own type, so that its outputs are equal.
        calibrated: whether it needs calibration batches.
    """

    suffix: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str | None] = None
    exact: ClassVar[bool] = True
    calibrated: ClassVar[bool] = False

    @abstractmethod
    def write(self, exportable: Exportable, path: Path) -> None:
        """Write the model.

        Args:
            exportable: the model and its program; neither is changed.
            path: the file; others beside it may start with the same name.
        """

    @abstractmethod
    def load(self, path: Path) -> Runner:
        """Return what runs a file that was written.

        Args:
            path: the file.
        """

    def files(self, path: Path) -> list[Path]:
        """Return the files that together are the model written to ``path``."""
        return [path]

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]
