import os

import pytest

from lightning_prune.display import widths
from lightning_prune.display.widths import clip, join_names, terminal_width, wrap, wrap_all


@pytest.mark.parametrize(("columns", "width"), [(20, 60), (60, 60), (80, 80), (240, 100)])
def test_a_line_has_60_to_100_characters(monkeypatch, columns: int, width: int) -> None:
    monkeypatch.setattr(
        widths.shutil, "get_terminal_size", lambda fallback: os.terminal_size((columns, 24))
    )
    assert terminal_width() == width


def test_without_a_terminal_it_has_100(monkeypatch) -> None:
    monkeypatch.setattr(widths.shutil, "get_terminal_size", os.terminal_size)
    assert terminal_width() == 100


def test_the_middle_of_a_long_name_is_left_out() -> None:
    assert clip("encoder.0", 9) == "encoder.0"
    assert clip("encoder.10", 9) == "enco…r.10"
    assert clip("encoder.10", 8) == "enco….10"


@pytest.mark.parametrize(
    ("width", "text"), [(14, "aa, bbbb, cccc"), (13, "aa, bbbb, +1"), (11, "aa, +2")]
)
def test_names_that_do_not_fit_are_counted(width: int, text: str) -> None:
    assert join_names(["aa", "bbbb", "cccc"], width) == text


def test_a_first_name_that_does_not_fit_is_clipped() -> None:
    assert join_names(["abcdefghij", "k"], 10) == "abc…ij, +1"
    assert join_names(["abcdefghijklm"], 10) == "abcde…jklm"


def test_no_names_are_nothing() -> None:
    assert join_names([], 10) == ""


def test_a_sentence_is_wrapped_and_cut() -> None:
    assert wrap("one two three four", 9, 3) == "one two\n  three\n  four"
    assert wrap("one two three four", 9, 2) == "one two\n  three …"


def test_long_lines_go_on_indented() -> None:
    lines = ["one two three four", "short"]
    assert wrap_all(lines, 10).splitlines() == ["one two", "  three", "  four", "short"]
