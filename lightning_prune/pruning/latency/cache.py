"""The cache of measured times: JSON files in the user's cache folder.

A file holds the conditions that its numbers were measured under. One that cannot be read, or that
is of other conditions, is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

VARIABLE = "LIGHTNING_PRUNE_CACHE"
"""The environment variable that moves the folder."""

_MOST_BYTES = 10_000_000


def cache_folder() -> Path:
    """Return the folder: that of the environment variable, else the platform's for caches."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    if platform.system() == "Windows":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif platform.system() == "Darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lightning_prune"


def cached_times(
    conditions: Mapping[str, Any], measure: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Return times that were measured under the same conditions before, else measure them.

    Args:
        conditions: all that the times depend on, as JSON can hold it.
        measure: returns times in ms, by name.

    Returns:
        The times.
    """
    text = json.dumps(conditions, sort_keys=True)
    try:
        path = cache_folder() / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
        known = _read(path, text)
    except (OSError, RuntimeError):  # no permission, or no home
        return measure()
    if known is not None:
        return known
    times = measure()
    try:
        _write(path, {"conditions": json.loads(text), "times_ms": times})
    except OSError as error:
        log.info("The measured times are not kept in %s: %s", path, error)
    return times


def _read(path: Path, conditions: str) -> dict[str, float] | None:
    """Return the times in a file, ``None`` if there are none that could be trusted."""
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return None
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        times = held["times_ms"]
        good = json.dumps(held["conditions"], sort_keys=True) == conditions and all(
            type(time) is float and math.isfinite(time) and time >= 0 for time in times.values()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return times if good else None


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
