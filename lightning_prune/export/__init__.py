"""Export: a model as a file for another runtime, run there, compared and measured.

Nothing here knows what pruning is: any module can be exported.
"""

from lightning_prune.export.base import Format
from lightning_prune.export.export_model import FORMATS, export_model, find_formats
from lightning_prune.export.report import Exported, ExportReport

__all__ = ["FORMATS", "ExportReport", "Exported", "Format", "export_model", "find_formats"]
