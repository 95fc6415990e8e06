"""A page of a run, and what the other callbacks tell it."""

from lightning_prune.callbacks.report.callback import Report

__all__ = ["Report"]
