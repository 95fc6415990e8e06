"""Glob patterns of module names.

A pattern that names a module means everything inside it, too. Nothing here looks at modules.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a module, or one that contains it, is named by a pattern.

    Args:
        name: the module's name, such as ``"head.fc"``.
        patterns: glob patterns, such as ``"layer?.*"``; ``*`` also matches dots.

    Returns:
        ``True`` if any pattern matches ``name`` or any of its ancestors.

    Examples:
        >>> matches("head.fc", ["head"])
        True
        >>> matches("header", ["head"])
        False
    """
    parts = name.split(".")
    lineage = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return any(fnmatchcase(member, pattern) for pattern in patterns for member in lineage)


def check_patterns(argument: str, patterns: Sequence[str], names: Iterable[str]) -> None:
    """Refuse patterns that name nothing.

    Args:
        argument: the argument that holds the patterns, for the message.
        patterns: glob patterns.
        names: names of all modules.

    Raises:
        ValueError: if a pattern matches no name; close names are listed.
    """
    names = list(names)
    for pattern in patterns:
        if any(fnmatchcase(name, pattern) for name in names):
            continue
        close = difflib.get_close_matches(pattern, names, n=5, cutoff=0.4)
        cure = f"Did you mean {', '.join(close)}?" if close else "See `model.named_modules()`."
        raise ValueError(
            f"Expected `{argument}` to be glob patterns of module names, but got {pattern!r}, "
            f"which matches none. {cure}"
        )
