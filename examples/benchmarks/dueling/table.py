"""Rows of results in a file, and the tables made of them."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from dueling.running import STAGES, Row

_NUMBERS = {"score", "macs_ratio", "latency_ratio", "sparsity"}
_HEADINGS = {
    "cut": "after the cut",
    "norms": "norms renewed",
    "compensated": "compensated",
    **{stage: f"after {stage}% of the epochs" for stage in STAGES if stage.isdigit()},
}


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [_row(texts) for texts in csv.DictReader(file)]


def _row(texts: dict[str, str]) -> Row:
    numbers = {name: float(texts[name]) if texts[name] else None for name in _NUMBERS}
    return Row(
        texts["problem"],
        texts["method"],
        float(texts["speedup"]),
        int(texts["seed"]),
        texts["stage"],
        epochs=int(texts["epochs"]),
        seconds=float(texts["seconds"]),
        note=texts["note"],
        **numbers,
    )


def append_row(path: Path, row: Row) -> None:
    """Add a row to a file, which is made if there is none."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))


def summarise(rows: Sequence[Row]) -> str:
    """Return a Markdown table of means for each problem and speed-up; one seed has no deviation."""
    cells = sorted({(row.problem, row.speedup) for row in rows})
    return "\n\n".join(
        _table(title, [row for row in rows if (row.problem, row.speedup) == title])
        for title in cells
    )


def _table(title: tuple[str, float], rows: Sequence[Row]) -> str:
    stages = [stage for stage in STAGES if any(row.stage == stage for row in rows)]
    header = [
        f"{title[0]}, {title[1]:g} times fewer MACs",
        *(_HEADINGS[stage] for stage in stages),
        "MACs",
        "speed-up",
    ]
    lines = [header, ["---"] * len(header)]
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        lines.append(
            [
                method,
                *(_mean([row.score for row in mine if row.stage == stage]) for stage in stages),
                _mean([row.macs_ratio for row in mine], 2, deviation=False),
                _mean([row.latency_ratio for row in mine], 2, deviation=False),
            ]
        )
    notes = {f"{row.method}: {row.note}" for row in rows if row.note}
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *sorted(notes)]).strip()


def _mean(values: Sequence[float | None], digits: int = 4, *, deviation: bool = True) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "failed" if values and deviation else ""
    mean = f"{statistics.mean(known):.{digits}f}"
    if not deviation or len(known) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(known):.{digits}f}"
