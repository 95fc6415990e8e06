"""Plots: axes of matplotlib, or an error that says how to install it.

matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def require_axes(axes: Axes | None) -> Axes:
    """Return axes to draw on.

    Args:
        axes: the user's, or ``None`` for those of a new figure.

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
    return Figure(layout="constrained").add_subplot()
