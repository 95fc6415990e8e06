"""Rewriting: corrections of single calls in the source of a module's methods."""

from lightning_prune.compaction.rewriting.call_site import CallSite
from lightning_prune.compaction.rewriting.rewrite import Edit, edits_of, joined, rewritten
from lightning_prune.runtime.corrections import Correction

__all__ = ["CallSite", "Correction", "Edit", "edits_of", "joined", "rewritten"]
