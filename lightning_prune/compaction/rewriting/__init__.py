"""Rewriting: corrections of single calls in the source of a module's methods."""

from lightning_prune.compaction.rewriting.corrections import Correction
from lightning_prune.compaction.rewriting.place import Place
from lightning_prune.compaction.rewriting.rewrite import Edit, edits_of, joined, rewritten

__all__ = ["Correction", "Edit", "Place", "edits_of", "joined", "rewritten"]
