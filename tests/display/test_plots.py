import sys

import pytest

from lightning_prune.display.plots import require_axes


def test_new_axes_or_those_given():
    axes = require_axes(None)
    assert require_axes(axes) is axes


def test_matplotlib_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"lightning-prune\[plot\]"):
        require_axes(None)
