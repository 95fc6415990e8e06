"""Formats are found by name, and only where they can be used."""

from __future__ import annotations

import re

import pytest

from lightning_prune.formats import FORMATS, find_formats


def test_they_come_in_the_order_asked_for() -> None:
    found = find_formats(["torch.export"])
    assert found == {"torch.export": FORMATS["torch.export"]}


@pytest.mark.parametrize("names", [[], ["tflite"], ["torch.export", "tflite"]], ids=str)
def test_what_is_no_format_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="Expected `formats` to hold some of onnx, "):
        find_formats(names)


def test_one_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FORMATS["openvino"], "packages", ("no_such_package",), False)
    with pytest.raises(ModuleNotFoundError, match=re.escape("[export-openvino]")):
        find_formats(["openvino"])
