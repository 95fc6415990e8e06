"""Shown: the source of a corrected copy of a function, for `inspect`, debuggers and tracebacks.

It is the text of the original in which what was changed is replaced. It keeps its lines.
"""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Mapping

from lightning_prune.compaction.rewriting.source import Source
from lightning_prune.coupling.graph import Position
from lightning_prune.coupling.sites import file_of_copy


def show(source: Source, changes: Mapping[Position, str]) -> str:
    """Make the source of a copy known to `linecache`.

    Args:
        source: the original.
        changes: what stands in the copy at positions of the file; of two of which one is inside of
            the other, the outer one counts.

    Returns:
        The name of its file, which the code of the copy must bear; the same for the same text.
    """
    text = corrected_text(source.text, source.first_line, changes)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    file = file_of_copy(source.function.__code__, digest)
    lines = ["\n"] * (source.first_line - 1) + text.splitlines(keepends=True)
    linecache.cache[file] = (len(text), None, lines, file)  # without a time: nobody looks for it
    return file


def corrected_text(text: str, first_line: int, changes: Mapping[Position, str]) -> str:
    """Return a text with changes; every line stays where it was.

    Args:
        text: the source of a function.
        first_line: the line of the file at which it starts.
        changes: as in `show`; each is one line. Columns count bytes, as Python's parser does.
    """
    lines = text.encode().split(b"\n")
    for position in reversed(_outermost(changes)):
        start, end = position.line - first_line, position.end_line - first_line
        before, after = lines[start][: position.column], lines[end][position.end_column :]
        changed = before + changes[position].encode() + after
        lines[start : end + 1] = [changed, *[b""] * (end - start)]
    return b"\n".join(lines).decode()


def _outermost(positions: Mapping[Position, str]) -> list[Position]:
    """Return the positions that are inside of no other, in the order of the text."""
    found: list[Position] = []
    ordered = sorted(positions, key=lambda p: (p.line, p.column, -p.end_line, -p.end_column))
    for position in ordered:
        ends = (found[-1].end_line, found[-1].end_column) if found else (-1, -1)
        if (position.line, position.column) >= ends:
            found.append(position)
    return found
