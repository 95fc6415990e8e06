"""Plots: axes of matplotlib, or an error that says how to install it.

matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning_prune.display.widths import clip, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


ABOVE: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0.0, 1.0),
    "ncols": 2,
    "frameon": False,
}
"""Options of a legend above the axes, where it hides nothing."""

_LARGE = 10_000  # numbers that are written with a prefix from here on
_NAME = 24  # characters of a name beside a bar
_ROW_INCHES, _FRAME_INCHES = 0.24, 0.9


def require_axes(axes: Axes | None, rows: int = 0) -> Axes:
    """Return axes to draw on.

    Args:
        axes: the user's, or ``None`` for those of a new figure.
        rows: how many bars a new figure has to hold, one above the other; 0 for no bars.

    Returns:
        ``axes``, or new ones.

    Raises:
        ImportError: if matplotlib is missing.
    """
    if axes is not None:
        return axes
    try:
        # Not pyplot, which would choose a window system and keep the figure alive.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Expected matplotlib to be installed for a plot, but got none. "
            "Run `pip install 'lightning-prune[plot]'`."
        ) from error
    size = (5.0, max(2.0, _FRAME_INCHES + rows * _ROW_INCHES)) if rows else None
    return Figure(figsize=size, layout="constrained").add_subplot()


def draw_bars(
    axes: Axes,
    names: Sequence[str],
    before: Sequence[float],
    after: Sequence[float] | None = None,
    *,
    label: str,
) -> None:
    """Draw a bar for each name, from top to bottom, and in it what is left.

    Args:
        axes: where to draw.
        names: what the bars are of; long ones lose their middle.
        before: the lengths.
        after: the lengths of what is left, ``None`` to draw one bar each.
        label: of the axis, with the unit.
    """
    from matplotlib.ticker import EngFormatter

    positions = range(len(names))
    whole, left = ("0.75", "tab:blue") if after is not None else ("tab:blue", "")
    axes.barh(positions, before, color=whole, label="before")
    if after is not None:
        axes.barh(positions, after, height=0.5, color=left, label="after")
        axes.legend(fontsize="small", **ABOVE)
    # As they are: a dollar sign begins no formula.
    shown = [clip(printable(name), _NAME) for name in names]
    axes.set_yticks(positions, shown, fontsize="small", parse_math=False)
    if max(before, default=0) >= _LARGE:
        axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel(label)
    axes.invert_yaxis()
