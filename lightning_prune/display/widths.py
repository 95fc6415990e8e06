"""Text within a width: names and sentences that are too long end with an ellipsis."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

_LEAST, _MOST = 60, 100


def terminal_width() -> int:
    """Return how many characters a printed line may have, in [60, 100]; 100 without a terminal."""
    return max(_LEAST, min(_MOST, shutil.get_terminal_size((_MOST, 24)).columns))


def clip(text: str, width: int) -> str:
    """Return ``text`` with its middle left out where it has more than ``width`` characters.

    Example:
        >>> clip("encoder.layers.11.attention", 15)
        'encoder…tention'
    """
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def join_names(names: Sequence[str], width: int) -> str:
    """Return as many of ``names`` as fit, and how many there are besides.

    Args:
        names: any number of them.
        width: characters that the result may have, at least 10.

    Example:
        >>> join_names(["conv1", "bn1", "layer1.0.conv2"], 20), join_names(["conv1", "bn1"], 20)
        ('conv1, bn1, +1', 'conv1, bn1')
    """
    for count in range(len(names), 1, -1):
        more = f", +{len(names) - count}" if count < len(names) else ""
        joined = ", ".join(names[:count]) + more
        if len(joined) <= width:
            return joined
    if not names:
        return ""
    more = f", +{len(names) - 1}" if len(names) > 1 else ""
    return clip(names[0], width - len(more)) + more


def wrap(text: str, width: int, most_lines: int) -> str:
    """Return ``text`` in lines of at most ``width`` characters; what follows is left out."""
    return "\n".join(
        textwrap.wrap(text, width, max_lines=most_lines, subsequent_indent="  ", placeholder=" …")
    )


def wrap_all(lines: Sequence[str], width: int) -> str:
    """Return ``lines`` of at most ``width`` characters each, which go on indented."""
    wrapped = [
        part
        for line in lines
        for part in textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False)
    ]
    return "\n".join(wrapped)


def printable(text: str) -> str:
    r"""Return ``text`` with a question mark in place of what cannot be printed.

    Example:
        >>> printable("conv\n1"), printable("größe")
        ('conv?1', 'größe')
    """
    return "".join(c if c.isprintable() else "?" for c in text)
