"""A report is a page, a JSON file and pictures, each whole or not at all."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.reports import HOSTILE, full_report
from torch import nn

from lightning_prune.report import write_report
from lightning_prune.report.content import LayerRow, Reason, Width
from lightning_prune.report.write import require_report, write_files


def test_a_model_is_measured_and_written(tmp_path):
    model = nn.Linear(3, 2)
    page = write_report(tmp_path / "new", before=model, example_inputs=torch.ones(1, 3), title="T")
    assert page == tmp_path / "new" / "report.html"
    assert "<title>T</title>" in page.read_text()
    stored = json.loads((page.parent / "report.json").read_text())
    assert stored["layers"][0]["params_before"] == 3 * 2 + 2
    assert "scores: no update of the masks was seen" in stored["unmeasured"]
    assert {path.name for path in page.parent.iterdir()} == {
        *("report.html", "report.json"),
        *(f"report_{name}.png" for name in ("params", "macs", "ms", "timings")),
    }


def test_figures_of_the_page_are_returned_and_are_files(tmp_path):
    figures = write_files(full_report(HOSTILE), tmp_path)
    assert len(figures) == 12
    assert all((tmp_path / f"report_{name}.png").stat().st_size for name in figures)
    assert (tmp_path / "report.html").read_text().count("<svg ") == 12


def test_a_page_of_a_large_model_stays_below_a_megabyte(tmp_path):
    name = "x" * 300
    report = replace(
        full_report(name),
        layers=tuple(LayerRow(f"{name}{i}", name, (9,) * 4, 1 + i, i, 1.0) for i in range(3000)),
        widths=tuple(Width(f"{name}{i}", 9, 5) for i in range(3000)),
        reasons=tuple(Reason(name, f"{name}{i}", name * 3) for i in range(3000)),
        histograms=full_report().histograms * 500,
        metrics={f"{name}{i}": float(i) for i in range(3000)},
        unmeasured=(name * 3,) * 3000,
    )
    write_files(report, tmp_path)
    assert (tmp_path / "report.html").stat().st_size <= 1_000_000
    assert len(json.loads((tmp_path / "report.json").read_text())["layers"]) == 3000


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("old")

    def fail(self: Path, data: bytes) -> None:
        open(self, "wb").close()
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        write_files(full_report(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_what_is_no_path_is_refused():
    with pytest.raises(TypeError, match="path"):
        write_report(3)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_what_is_missing_is_said(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package}.*lightning-prune\[report\]"):
        require_report()
