"""Figures are drawn of what there is, whatever its names are."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from support.reports import HOSTILE, full_report

from lightning_prune.report.content import LayerRow, RunReport, Series, Width
from lightning_prune.report.figures import draw_figures, to_png, to_svg

ALL = [
    *("sparsity", "accuracy", "latency", "trade", "timings", "speedups"),
    *("widths", "params", "macs", "ms", "scores_1", "scores_2"),
]


def test_there_is_a_figure_for_everything():
    assert list(draw_figures(full_report())) == ALL


def test_of_nothing_nothing_is_drawn():
    assert draw_figures(RunReport()) == {}


@pytest.mark.parametrize("name", [HOSTILE, "_$卷积$" + "W" * 300], ids=ascii)
def test_any_name_can_be_drawn(name, recwarn):
    for key, figure in draw_figures(full_report(name)).items():
        svg = to_svg(figure, key)
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        assert to_png(figure).startswith(b"\x89PNG")
    assert not recwarn


def test_ids_of_figures_on_one_page_differ():
    ids = [
        re.findall(r' id="([^"]*)"', to_svg(figure, name))
        for name, figure in draw_figures(full_report()).items()
    ]
    flat = [one for found in ids for one in found]
    assert len(flat) == len(set(flat))


def test_a_figure_takes_the_colour_of_the_text_around_it():
    svg = to_svg(draw_figures(full_report())["widths"], "widths")
    assert "currentColor" in svg
    assert "#010203" not in svg


def test_updates_are_marked_and_epochs_are_named():
    axes = draw_figures(full_report())["accuracy"].axes[0]
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert marks == [10, 15]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2"]


def test_what_is_many_is_drawn_in_part():
    steps = tuple(range(5000))
    report = replace(
        full_report(),
        series=(Series("a", "accuracy", steps, tuple(map(float, steps))),),
        epochs=steps,
        widths=tuple(Width(f"group{i}", 1 + i, 1) for i in range(100)),
        layers=tuple(LayerRow(f"layer{i}", "", (), 1 + i) for i in range(100)),
    )
    figures = draw_figures(report)
    assert len(figures["accuracy"].axes[0].get_xticks()) <= 8
    names = [text.get_text() for text in figures["widths"].axes[0].get_yticklabels()]
    assert names == [f"group{i}" for i in range(76, 100)]
    assert len(to_svg(figures["accuracy"], "accuracy")) < 100_000
