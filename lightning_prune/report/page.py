"""The page of a report: one HTML file that needs nothing else. jinja2 escapes whatever it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from lightning_prune.display.tables import format_bytes, format_count
from lightning_prune.display.widths import clip, printable
from lightning_prune.report.content import RunReport

if TYPE_CHECKING:
    from jinja2 import Environment

_NAME, _SENTENCE = 70, 300  # characters
_MOST_ROWS = 150


def render(report: RunReport, figures: Mapping[str, str]) -> str:
    """Return the page.

    Long tables and texts are cut; `RunReport.to_json` holds all of them.

    Args:
        report: what it says.
        figures: SVG elements by name.

    Returns:
        HTML.

    Raises:
        ModuleNotFoundError: if jinja2 is missing.
    """
    template = _environment().from_string(
        files(__package__).joinpath("page.html").read_text("utf-8")
    )
    scores = [svg for name, svg in figures.items() if name.startswith("scores_")]
    return template.render(report=report, figures=figures, scores=scores, most=_MOST_ROWS)


def require_jinja2() -> None:
    """Refuse to go on without jinja2.

    Raises:
        ModuleNotFoundError: if it is missing.
    """
    _environment()


def _environment() -> Environment:
    try:
        from jinja2 import Environment, StrictUndefined
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Expected jinja2 to be installed for a report, but got none. "
            "Run `pip install 'lightning-prune[report]'`."
        ) from error
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "name": lambda text: clip(printable(str(text)), _NAME),
        "sentence": lambda text: clip(printable(str(text)), _SENTENCE),
        "exact": repr,  # as JSON has it
        "written": _written,
    }
    environment.tests["number"] = _is_number
    return environment


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _written(value: float, form: str) -> str:
    return _FORMS[form](value)


_FORMS: dict[str, Callable[[Any], str]] = {
    "count": format_count,
    "bytes": format_bytes,
    "ms": lambda value: f"{value:.3g} ms" if value < 100 else f"{value:.0f} ms",
    "share": lambda value: f"{value:.1%}",
    "times": lambda value: f"{value:.2f}x",
    "whole": lambda value: f"{value:d}",
    "short": lambda value: f"{value:.4g}",
}
