"""Plain text for people: aligned tables and short numbers.

Every report prints through this module, so all of them look alike. Strings in, strings out;
nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence

_PREFIXES = ("", "k", "M", "G", "T", "P")


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows`` under ``header`` in aligned columns.

    Args:
        header: name of each column.
        rows: one cell for each column, in each row.

    Returns:
        Lines without trailing spaces and without a final newline; columns of numbers are aligned
        to the right, those of words to the left.

    Raises:
        ValueError: if a row has not as many cells as the header.

    Example:
        >>> print(format_table(["layer", "zeros"], [["conv1", "12"], ["head", "3"]]))
        layer  zeros
        -----  -----
        conv1     12
        head       3
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"Expected `rows` to hold {len(header)} cells each, one for each name in `header`, "
                f"but got a row of {len(row)}: {list(row)}. Give every column a cell, if only ''."
            )
    columns = list(zip(header, ["-" * len(name) for name in header], *rows, strict=True))
    return "\n".join(
        "  ".join(cells).rstrip() for cells in zip(*map(_aligned, columns), strict=True)
    )


def _aligned(column: Sequence[str]) -> list[str]:
    """Return the cells of one column, header and rule first, in equal width."""
    header, cells = column[0], column[2:]
    width = max(map(len, column))
    numbers = bool(cells) and all(cell[:1].isdigit() or cell in {"", "-"} for cell in cells)
    aligned = [f"{cell:>{width}}" if numbers else f"{cell:<{width}}" for cell in (header, *cells)]
    return [aligned[0], "-" * width, *aligned[1:]]


def format_count(count: float) -> str:
    """Return ``count`` in three digits and a decimal prefix; below a thousand, rounded to a whole.

    Example:
        >>> format_count(1234567), format_count(999), format_count(11_689_512)
        ('1.23 M', '999', '11.7 M')
    """
    return _short(count, "")


def format_bytes(size_bytes: float) -> str:
    """Return ``size_bytes`` in three digits and a decimal unit (1 kB is 1000 bytes).

    Example:
        >>> format_bytes(46_800_000), format_bytes(12)
        ('46.8 MB', '12 B')
    """
    return _short(size_bytes, "B")


def _short(value: float, unit: str) -> str:
    # Rounding comes first: 999 999 has three digits as 1.00 M, not as 1000 k.
    prefix = 0
    while abs(value) >= (999.5 if prefix else 1000) and prefix < len(_PREFIXES) - 1:
        value /= 1000
        prefix += 1
    rounded = float(f"{value:.3g}")
    decimals = 0 if prefix == 0 or abs(rounded) >= 100 else 1 if abs(rounded) >= 10 else 2
    return f"{value:.{decimals}f} {_PREFIXES[prefix]}{unit}".rstrip()
