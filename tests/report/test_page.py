"""The page shows the numbers of the JSON file, whatever the names are, and needs nothing else."""

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest
from support.reports import HOSTILE, full_report

from lightning_prune.report.content import LayerRow, Reason, RunReport
from lightning_prune.report.page import _FORMS, render, require_jinja2

VOID = {"meta", "br"}
TEMPLATE = files("lightning_prune.report").joinpath("page.html").read_text()


class Page(HTMLParser):
    """Texts, numbers and attributes of a page; refuses tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.numbers: list[tuple[float, str]] = []
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.value = 0.0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "data":
            self.value = json.loads(str(dict(attrs)["value"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "data":
            self.numbers.append((self.value, data))
        elif data.strip() and not {"style", "svg"} & set(self.open):
            self.texts.append(data.strip())


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *(leaf for item in value.values() for leaf in leaves(item))]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def test_the_numbers_of_the_page_are_those_of_the_json_file():
    report = full_report()
    page = Page(render(report, {}))
    stored = [one for one in leaves(json.loads(report.to_json())) if not isinstance(one, str)]
    assert len(page.numbers) > 50
    for value, text in page.numbers:
        assert value in stored
        written = set()
        for form in _FORMS.values():
            try:
                written.add(form(value))
            except ValueError:  # a fraction is no whole number
                continue
        assert text in written


@pytest.mark.parametrize(
    ("section", "left_out"),
    [
        ("goals", set()),
        ("changes", set()),
        ("widths", set()),
        ("layers", set()),
        ("updates", set()),
        ("timings", set()),
        ("metrics", set()),
        ("machine", set()),
        ("histograms", {"edges", "kept", "removed", "logarithmic"}),  # these are drawn
    ],
)
def test_every_number_of_a_section_is_on_the_page(section, left_out):
    report = full_report()
    shown = [value for value, _ in Page(render(report, {"scores_1": "", "scores_2": ""})).numbers]
    stored = json.loads(report.to_json())[section]
    for row in stored if isinstance(stored, list) else [stored]:
        kept = {key: value for key, value in row.items() if key not in left_out}
        for value in leaves(kept):
            if isinstance(value, (int, float)):
                assert value in shown or (section == "histograms" and value == 0)


def test_no_other_number_is_on_the_page():
    report = full_report()
    strings = [one for one in leaves(json.loads(report.to_json())) if isinstance(one, str)]
    for text in Page(render(report, {})).texts:
        if re.search(r"\d", text):
            assert text in strings or text in TEMPLATE


def test_names_cannot_break_the_page():
    page = Page(render(full_report(HOSTILE), {}))
    assert "script" not in page.tags
    assert any("<script>alert(" in text for text in page.texts)
    text = render(full_report(HOSTILE), {})
    assert "\x00" not in text
    assert text.encode()  # no lone surrogate


def test_the_page_needs_no_network():
    page = Page(render(full_report(), {"widths": "<svg></svg>"}))
    assert any("default-src 'none'" in str(value) for _, value in page.attributes)
    assert not {"script", "link", "iframe", "img"} & page.tags
    assert not {"src", "href"} & {name for name, _ in page.attributes}


def test_sections_without_data_are_left_out():
    text = render(RunReport(versions={"torch": "two"}), {})
    assert re.findall("<h2>(.*)</h2>", text) == ["Versions and machine"]
    empty = Page(text)
    assert empty.numbers == []


def test_long_tables_are_cut_and_that_is_said():
    report = replace(
        full_report(),
        layers=tuple(LayerRow(f"layer{i}", "x" * 500, (1,) * 4, i) for i in range(5000)),
        reasons=tuple(Reason("frozen", "y" * 5000, "z" * 5000) for _ in range(5000)),
    )
    text = render(report, {})
    assert len(text) < 600_000
    assert text.count("The page shows the first 150; report.json holds all.") == 2


def test_jinja2_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ModuleNotFoundError, match=r"lightning-prune\[report\]"):
        require_jinja2()
