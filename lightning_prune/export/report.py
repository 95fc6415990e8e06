"""The report of an export: what was written, whether it is the same function, how fast it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from lightning_prune.display.tables import format_bytes, format_table
from lightning_prune.display.widths import terminal_width, wrap_all


@dataclass(frozen=True)
class Exported:
    """What became of one format.

    Args:
        path: the file; None of the model itself.
        size_bytes: size of the file and those beside it that belong to it.
        max_rel_error: largest difference of the outputs from torch, over their scale.
        p50_ms: median latency in the runtime, in ms.
        p95_ms: 95th percentile, in ms.
        problem: why this is not to be used, or could not be made; None if all is well.
    """

    path: str | None
    size_bytes: int | None = None
    max_rel_error: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote and measured; prints as a table.

    Args:
        rows: by format, after the row ``"torch"``, the model itself run eagerly.
        batch_size: of the example inputs, at which latency is measured.
        dynamic_batch: whether the files take other batch sizes.
        threads: CPU threads that torch and the runtimes used.
    """

    rows: Mapping[str, Exported]
    batch_size: int
    dynamic_batch: bool
    threads: int

    def __getitem__(self, name: str) -> Exported:
        """Return the row of a format."""
        return self.rows[name]

    @property
    def problems(self) -> dict[str, str]:
        """Why formats failed, by format."""
        return {name: row.problem for name, row in self.rows.items() if row.problem is not None}

    def metrics(self) -> dict[str, float]:
        """Return the figures under their metric keys, as they are logged."""
        return {
            f"export/{name}/{key}": float(value)
            for name, row in self.rows.items()
            for key, value in _figures(row).items()
            if value is not None
        }

    @override
    def __str__(self) -> str:
        header = ["runtime", "size", "p50", "p95", "relative error"]
        table = format_table(header, [[name, *_cells(row)] for name, row in self.rows.items()])
        batches = "any batch size" if self.dynamic_batch else f"batch {self.batch_size} only"
        notes = [
            f"latency at batch {self.batch_size} on cpu in turns, threads: {self.threads}",
            f"the files take {batches}",
            *(f"{name}: {problem}" for name, problem in self.problems.items()),
        ]
        return f"{table}\n{wrap_all(notes, terminal_width())}"


def _figures(row: Exported) -> dict[str, float | None]:
    return {
        "p50_ms": row.p50_ms,
        "p95_ms": row.p95_ms,
        "bytes": row.size_bytes,
        "max_rel_error": row.max_rel_error,
    }


def _cells(row: Exported) -> list[str]:
    return [
        "-" if row.size_bytes is None else format_bytes(row.size_bytes),
        "-" if row.p50_ms is None else f"{row.p50_ms:.3f} ms",
        "-" if row.p95_ms is None else f"{row.p95_ms:.3f} ms",
        "-" if row.max_rel_error is None else f"{row.max_rel_error:.1e}",
    ]
