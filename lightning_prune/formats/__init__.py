"""Formats: how a model is written as a file for another runtime, and how that file runs there.

Nothing here knows what pruning is, or measures.
"""

from lightning_prune.formats.base import Format
from lightning_prune.formats.find_formats import FORMATS, find_formats
from lightning_prune.formats.program import Exportable

__all__ = ["FORMATS", "Exportable", "Format", "find_formats"]
