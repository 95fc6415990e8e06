"""What becomes known of a compaction: its file, its latency, its table, its figures."""

from __future__ import annotations

from dataclasses import dataclass

import lightning as L
import torch
from torch import nn

from lightning_prune.callbacks.compaction.checks import say_why_nothing
from lightning_prune.callbacks.trainer.position import is_trial
from lightning_prune.callbacks.trainer.printing import print_as_is
from lightning_prune.compaction import CompactionReport, save_compact
from lightning_prune.compaction.measuring import with_latency
from lightning_prune.modules.inputs import ExampleInputs


@dataclass(frozen=True)
class Publishing:
    """What is done with a compact model beside training it.

    Args:
        path: where to write it; ``None`` = nowhere.
        latency: measure it.
    """

    path: str | None
    latency: bool

    def __call__(
        self,
        trainer: L.Trainer,
        before: nn.Module,
        compacted: nn.Module,
        report: CompactionReport,
        inputs: ExampleInputs,
    ) -> CompactionReport:
        """Write the compact model where asked; measure, print and log the report.

        Args:
            trainer: the trainer, on rank zero.
            before: the masked model.
            compacted: the compact one.
            report: of the compaction.
            inputs: what is measured.

        Returns:
            The report, with latencies where they are asked for.

        Raises:
            OSError: once all else is done, if the file could not be written.
            ValueError: so, too, if the model cannot be stored.
        """
        # A trial leaves no file, and none in place of a good one.
        failure = None if is_trial(trainer) else self._write(compacted, report)
        if self.latency:
            report = with_latency(report, before, compacted, inputs)
        print_as_is(trainer.lightning_module, report)
        if not report.removed:
            say_why_nothing(compacted)
        for logger in trainer.loggers:
            logger.log_metrics(report.metrics(), step=trainer.global_step)
            logger.save()
        note(trainer, report)
        if failure is not None:
            raise failure
        return report

    def _write(self, compacted: nn.Module, report: CompactionReport) -> Exception | None:
        """Write the file; return what has kept it from being written."""
        try:
            if self.path is not None:
                save_compact(compacted, self.path, report=report)
        except (OSError, ValueError) as error:
            return error
        return None


def note(trainer: L.Trainer, report: CompactionReport) -> None:
    """Put the figures where metrics are looked up after a fit; nothing can be logged by then.

    Args:
        trainer: the trainer.
        report: of the compaction.
    """
    values = report.metrics().items()
    trainer.callback_metrics.update(
        {key: torch.tensor(value, dtype=torch.float64) for key, value in values}
    )
