"""Reports: a page, a JSON file and pictures of what a pruning asked for, reached and brought."""

from lightning_prune.report.write import write_report

__all__ = ["write_report"]
