"""Export: a model as files for other runtimes, run there, compared and measured.

Nothing here knows what pruning is: any module can be exported.
"""

from lightning_prune.export.export_model import export_model
from lightning_prune.export.report import Exported, ExportReport

__all__ = ["ExportReport", "Exported", "export_model"]
