import pytest

from lightning_prune.display.tables import format_bytes, format_count, format_table


def test_numbers_are_aligned_to_the_right_and_words_to_the_left() -> None:
    table = format_table(["group", "kept", "why"], [["a", "10", "so"], ["longer", "7", "or else"]])
    assert table.splitlines() == [
        "group   kept  why",
        "------  ----  -------",
        "a         10  so",
        "longer     7  or else",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert format_table(["group", "kept"], []) == "group  kept\n-----  ----"


def test_lines_end_without_spaces() -> None:
    table = format_table(["a", "reason"], [["x", ""], ["long name", ""]])
    assert all(line == line.rstrip() for line in table.splitlines())


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `rows` to hold 2 cells each.*a row of 1"):
        format_table(["a", "b"], [["x"]])


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (12_345, "12.3 k"),
        (999_499, "999 k"),
        (999_999, "1.00 M"),
        (1_234_567, "1.23 M"),
        (9_999_000_000, "10.0 G"),
        (-1_234_567, "-1.23 M"),
        (5 * 10**18, "5000 P"),
    ],
)
def test_counts_have_three_digits_and_a_prefix(count: int, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(12, "12 B"), (46_800_000, "46.8 MB"), (1_500, "1.50 kB")]
)
def test_bytes_have_a_decimal_unit(size_bytes: int, text: str) -> None:
    assert format_bytes(size_bytes) == text
