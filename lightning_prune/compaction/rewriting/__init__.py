"""Rewriting: corrections of single calls in the source of a module's methods."""

from lightning_prune.compaction.rewriting.call_site import CallSite, merged_calls
from lightning_prune.compaction.rewriting.passed import passed_attribute
from lightning_prune.compaction.rewriting.rewrite import (
    Edit,
    edits_of,
    joined,
    own_methods_in,
    rewritten,
)

__all__ = [
    "CallSite",
    "Edit",
    "edits_of",
    "joined",
    "merged_calls",
    "own_methods_in",
    "passed_attribute",
    "rewritten",
]
