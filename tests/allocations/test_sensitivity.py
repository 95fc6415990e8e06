import pytest

from lightning_prune.allocations.sensitivity import Sensitivity

REPORT = Sensitivity(0.9, {"a": {0.5: 0.89, 0.1: 0.9, 0.9: 0.3}, "b": {0.1: 0.7, 0.5: 0.88}})


def test_prints_a_row_for_every_group():
    lines = [line.split() for line in str(REPORT).splitlines()]
    assert lines[0] == ["dense:", "0.9000"]
    assert lines[1] == ["group", "0.1", "0.5", "0.9"]
    assert lines[3:] == [["a", "0.9000", "0.8900", "0.3000"], ["b", "0.7000", "0.8800"]]


def test_draws_a_line_for_every_group():
    axes = REPORT.plot()
    assert [line.get_label() for line in axes.lines] == ["a", "b", "dense"]
    assert list(axes.lines[0].get_xdata()) == [0.0, 0.1, 0.5, 0.9]


def test_is_stored_as_text(tmp_path):
    REPORT.save(tmp_path / "s.json")
    assert Sensitivity.load(tmp_path / "s.json") == REPORT


def test_what_is_tolerated_ends_where_the_metric_falls_first():
    assert REPORT.tolerated(0.02) == {"a": 0.5, "b": 0.0}
    assert REPORT.tolerated(1.0) == {"a": 0.9, "b": 0.5}


def test_less_can_be_better():
    report = Sensitivity(0.1, {"a": {0.5: 0.12, 0.9: 0.4}})
    assert report.tolerated(0.05, higher_is_better=False) == {"a": 0.5}


def test_an_empty_report_prints():
    assert str(Sensitivity(0.5)).startswith("dense: 0.5000")
    assert Sensitivity(0.5).tolerated(0.1) == pytest.approx({})
