"""The history of a run: what was logged, and when the masks were updated. It knows no Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lightning_prune.report.content import Kind, Series, Trade, Update

_VERSION = 1
_MOST_POINTS = 1000
_LATENCIES = ("latency/compact_p50_ms", "latency/p50_ms")


class History:
    """Metrics and updates of the masks over the optimizer steps.

    Attributes:
        epochs: the steps after which epochs ended.
        updates: of the masks, in order.
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.updates: list[Update] = []
        self._points: dict[str, dict[int, float]] = {}
        self._validated: dict[str, None] = {}  # in the order in which they were logged

    def note(self, step: int, metrics: Mapping[str, Any], *, validation: bool) -> None:
        """Add what was logged at a step.

        Args:
            step: optimizer steps done.
            metrics: single numbers by key. What a validation logged is added by validations only.
            validation: whether a validation logged it.
        """
        for key, value in metrics.items():
            if key in self._validated and not validation:
                continue
            if validation:
                self._validated[key] = None
            self._points.setdefault(key, {})[step] = float(value)

    def series(self, monitor: str | None, prunings: list[str]) -> tuple[Series, ...]:
        """Return what was logged, but for the sparsity of single parameters; at most 1000 points.

        Args:
            monitor: key of the metric that tells how good the model is; None for those of the
                validation that are no losses, or, if there are none, the losses.
            prunings: names of the prunings.
        """
        good = self._good(monitor)
        found = []
        for key, points in self._points.items():
            if key.startswith("sparsity/") and key != "sparsity/total":
                continue
            steps = sorted(points)
            steps = steps[:: -(-len(steps) // _MOST_POINTS)]
            values = tuple(points[step] for step in steps)
            found.append(Series(key, _kind(key, good, prunings), tuple(steps), values))
        return tuple(found)

    def trades(self, monitor: str | None) -> tuple[Trade, ...]:
        """Return how good the model was, and how fast, wherever both were logged at one step."""
        good = next(iter(self._good(monitor)), None)
        latency = next((key for key in _LATENCIES if key in self._points), None)
        if good is None or latency is None:
            return ()
        fast, values = self._points[latency], self._points[good]
        return tuple(Trade(s, fast[s], values[s]) for s in sorted(fast.keys() & values.keys()))

    def state_dict(self) -> dict[str, Any]:
        """Return everything, in plain types."""
        return {
            "version": _VERSION,
            "epochs": list(self.epochs),
            "updates": [asdict(update) for update in self.updates],
            "points": {key: dict(points) for key, points in self._points.items()},
            "validated": list(self._validated),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.epochs = list(state["epochs"])
        self.updates = [Update(**update) for update in state["updates"]]
        self._points = {key: dict(points) for key, points in state["points"].items()}
        self._validated = dict.fromkeys(state["validated"])

    def _good(self, monitor: str | None) -> list[str]:
        if monitor is not None:
            return [monitor] if monitor in self._points else []
        others = [key for key in self._validated if "loss" not in key.lower()]
        return others or list(self._validated)


def _kind(key: str, good: list[str], prunings: list[str]) -> Kind:
    if key in good:
        return "accuracy"
    if key == "sparsity/total" or key.rpartition("/")[0] in prunings:
        return "sparsity"
    if key.startswith("latency/") and key.endswith("p50_ms"):
        return "latency"
    return "other"
