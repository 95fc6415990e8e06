import sys

import pytest

from lightning_prune.display.plots import draw_bars, require_axes


def test_new_axes_or_those_given():
    axes = require_axes(None)
    assert require_axes(axes) is axes


def test_matplotlib_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"lightning-prune\[plot\]"):
        require_axes(None)


def test_new_axes_are_as_high_as_there_are_bars():
    heights = [require_axes(None, rows).figure.get_figheight() for rows in (1, 20, 40)]
    assert heights == [2.0, 0.9 + 20 * 0.24, 0.9 + 40 * 0.24]


def test_bars_run_from_top_to_bottom_with_what_is_left_in_them():
    axes = require_axes(None)
    draw_bars(axes, ["first", "second"], [4, 8], [1, 2], label="units")
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert widths == [[4, 8], [1, 2]]
    assert axes.yaxis_inverted()
    assert axes.get_xlabel() == "units"


def test_names_are_drawn_as_they_are(recwarn):
    axes = require_axes(None)
    draw_bars(axes, ["a$_b$", "$", "x" * 100, "line\n2"], [1] * 4, label="units")
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert shown[:2] == ["a$_b$", "$"]
    assert len(shown[2]) == 24
    assert shown[3] == "line?2"
    axes.figure.draw_without_rendering()
    assert not recwarn
