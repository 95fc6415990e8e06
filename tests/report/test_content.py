"""The JSON file holds everything, and only what JSON knows."""

import json
from dataclasses import fields

from support.reports import HOSTILE, full_report

from lightning_prune.report.content import RunReport


def test_every_field_is_in_the_file():
    found = json.loads(full_report().to_json())
    assert found.keys() == {field.name for field in fields(RunReport)}
    assert found["layers"][1]["shape_before"] == [8, 3, 3, 3]
    assert found["timings"][1]["low"] == 1.75


def test_numbers_that_are_not_finite_are_null():
    found = json.loads(full_report().to_json(), parse_constant=lambda text: text)
    assert found["metrics"]["nan"] is None
    assert found["series"][3]["values"] == [6.5, None]


def test_any_name_is_stored_as_it_is():
    text = full_report(HOSTILE).to_json()
    assert text.isascii()
    assert json.loads(text)["widths"][0]["group"] == HOSTILE


def test_series_are_found_by_kind():
    assert [one.key for one in full_report().of_kind("latency")] == ["latency/p50_ms"]
    assert full_report().of_kind("other") == ()
