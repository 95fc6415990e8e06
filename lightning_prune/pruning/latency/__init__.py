"""Targets in milliseconds: what units cost, and the search for what measures as asked."""

from lightning_prune.pruning.latency.search import Clock, LatencySearch

__all__ = ["Clock", "LatencySearch"]
