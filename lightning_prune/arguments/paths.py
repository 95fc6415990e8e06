"""Checks of paths, before the work whose result is to be written there."""

from __future__ import annotations

import os
from pathlib import Path


def path_of(path: object, argument: str = "path", what: str = "file") -> str:
    """Return a path as text.

    Args:
        path: what was passed.
        argument: its name.
        what: what it names.

    Returns:
        The path.

    Raises:
        TypeError: if it is none.
    """
    if isinstance(path, (str, os.PathLike)) and isinstance(found := os.fspath(path), str):
        return found
    raise TypeError(f"Expected `{argument}` to be a path, but got {path!r}. It names a {what}.")


def check_writable(path: object) -> None:
    """Refuse a path to which no file can be written.

    Args:
        path: what was passed.

    Raises:
        ValueError: if it names no file, its folder does not exist, or nothing can be written there.
        TypeError: if it is no path.
    """
    text = path_of(path)
    file = Path(text)
    if not file.name or file.is_dir() or text.endswith(os.sep):
        problem = "which names no file. Add a name, such as 'small.safetensors'"
    elif not file.parent.is_dir():
        problem = f"whose folder {str(file.parent)!r} does not exist. Make it first"
    elif not os.access(file if file.exists() else file.parent, os.W_OK):
        problem = "which must not be written to. Change its permissions, or choose another folder"
    else:
        return
    raise ValueError(
        f"Expected `path` to be a file that can be written, but got {text!r}, {problem}."
    )
