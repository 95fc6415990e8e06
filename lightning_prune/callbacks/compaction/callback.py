"""Compaction as a callback: at the end of fit, or as it trains, the model becomes smaller in place.

It reads what is exactly zero in the weights and knows no other callback. It runs in ``on_fit_end``
because averaging callbacks copy weights back in ``on_train_end``.
"""

from __future__ import annotations

import logging
from os import PathLike
from typing import Any, get_args

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import (
    check_choice,
    check_flags,
    check_fraction,
    check_name,
    check_writable,
    path_of,
)
from lightning_prune.callbacks.compaction.best_weights import BestWeights, Mode
from lightning_prune.callbacks.compaction.checks import (
    check_copied,
    check_during,
    check_gathered_options,
    check_sizes_agree,
    cut_optimizer_states,
    forget_checkpoint,
    refuse_full_size,
    warn_left_behind,
)
from lightning_prune.callbacks.compaction.compactable import compactable
from lightning_prune.callbacks.compaction.in_training import CompactionsInTraining, check_order
from lightning_prune.callbacks.compaction.publishing import Publishing, note
from lightning_prune.callbacks.trainer.calibration import first_batch
from lightning_prune.callbacks.trainer.example_inputs import (
    can_run,
    examples_in_training,
    find_example_inputs,
)
from lightning_prune.callbacks.trainer.masking import masks_in_force
from lightning_prune.callbacks.trainer.monitored import monitored
from lightning_prune.callbacks.trainer.namespaces import Callback
from lightning_prune.callbacks.trainer.other_callbacks import forget_averages
from lightning_prune.callbacks.trainer.printing import print_as_is
from lightning_prune.callbacks.trainer.ranks import failing_together
from lightning_prune.callbacks.trainer.strategies import check_strategy, shards_weights
from lightning_prune.compaction import CompactionReport, compact
from lightning_prune.compaction.foreign_masks import warn_of_masks
from lightning_prune.compaction.full_size import FullSize
from lightning_prune.compaction.full_size_states import FullSizeStates
from lightning_prune.measure import count_macs
from lightning_prune.modules.gathering import gather, has_shards
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import twin

log = logging.getLogger(__name__)


class Compaction(Callback):
    """Remove at the end of ``fit`` what pruning has zeroed, prove it and report it.

    The LightningModule is changed in place: its layers become smaller, its state-dict keys stay.
    One table is printed, the figures go to every logger and to ``trainer.callback_metrics`` under
    ``compaction/…``, and the report is kept as `report`.

    Checkpoints of the training hold the model in its full size. Those with the zeros of the
    compact model still load into it, as in ``trainer.test(ckpt_path="best")``; others are refused.

    Args:
        during: compact the model while it trains, too, after updates of the masks, so that the
            steps that follow take less time. In exact arithmetic, masks and weights are those of a
            training that only masks; sums of fewer terms round otherwise, so in float32 both may
            drift apart, like the same training on two machines, and with Adafactor, LBFGS and Muon,
            whose steps depend on whole weights, they do. With `Auto`, rewinding,
            regularization, a target of latency or criteria that read activations it waits for the
            last update. The callback has to be behind those that prune. Its checkpoints are
            compact, and a resumed run starts with a new model of full size. Not with
            `AccuracyGuard`, nor of sharded models.
        min_gain: for that, the fraction of the parameters that must have become zero, in (0, 1).
        path: where to write the compact model with `save_compact`, usually ``*.safetensors``;
            None to keep it in memory only. A sharded model (`ModelParallelStrategy`) keeps its
            size: its weights are gathered on rank zero, compacted and written there. Nothing is
            written by ``fast_dev_run``.
        monitor: name of a metric that the validation logs: the best weights by it are compacted,
            among those under the last masks. They are kept in memory and in checkpoints. None to
            compact the last weights.
        mode: ``"min"`` if a lower metric is better, else ``"max"``.
        latency: measure the latency of the masked and the compact model, in turns, on the device
            of the fit.
        example_inputs: what ``forward`` takes, or a `Call` of another method, or a list of such
            examples; by default the LightningModule's ``example_input_array``, else what its steps
            call ``forward`` with, else the first element of the first training batch. The steps
            themselves are compacted and verified beside it, as far as they run on that batch.
        allow_unused: units may also go where a parameter that no example runs might read them.
        untried_strategy: let strategies through with which compaction was not tried.

    Raises:
        ValueError: if ``mode`` is none of its words.
        TypeError: if an argument is of another type.
    """

    def __init__(
        self,
        *,
        during: bool = False,
        min_gain: float = 0.1,
        path: str | PathLike[str] | None = None,
        monitor: str | None = None,
        mode: Mode = "min",
        latency: bool = True,
        example_inputs: Any = None,
        allow_unused: bool = False,
        untried_strategy: bool = False,
    ) -> None:
        check_choice("mode", mode, get_args(Mode), "It says which values of `monitor` are better.")
        if monitor is not None:
            check_name("monitor", monitor, "It is a metric that the validation logs.")
        check_flags(
            during=during,
            latency=latency,
            allow_unused=allow_unused,
            untried_strategy=untried_strategy,
        )
        check_fraction("min_gain", min_gain, "(0, 1)", "It is the share of zeros that is worth it.")
        self.during = during
        self.min_gain = min_gain
        self.path = None if path is None else path_of(path)
        self.monitor = monitor
        self.mode: Mode = mode
        self.latency = latency
        self.example_inputs = example_inputs
        self.allow_unused = allow_unused
        self.untried_strategy = untried_strategy
        self._publish = Publishing(self.path, latency=latency)
        self.report: CompactionReport | None = None
        self._examples: list[ExampleInputs] = []
        self._copied = False
        self._best = BestWeights(mode)
        self._in_training = CompactionsInTraining(min_gain, allow_unused=allow_unused)

    @property
    def full_size(self) -> FullSize[L.LightningModule] | None:
        """The module before it became compact in the training that runs."""
        return self._in_training.full_size

    def keep_full_size(self, module: L.LightningModule) -> None:
        """Keep the structure of a module that a checkpoint is about to make compact."""
        self._in_training.full_size = FullSize(module)

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse untried strategies, a path that cannot be written, and options of no use."""
        check_strategy(trainer, "Compaction", untried=self.untried_strategy)
        if shards_weights(trainer):
            check_gathered_options(self.path, self.monitor)
        compactable(type(pl_module))
        if stage == "fit":
            if self.path is not None:
                check_writable(self.path)
            self._best = BestWeights(self.mode)
            self._in_training = CompactionsInTraining(self.min_gain, allow_unused=self.allow_unused)
            if self.during:
                check_during(trainer)
                check_order(trainer, self)

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a module that cannot be copied, and warn of masks beside the weights."""
        if not has_shards(pl_module):
            check_copied(pl_module)
        warn_of_masks(pl_module)

    @override
    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to go on training from a checkpoint in another size than the model's."""
        refuse_full_size(trainer, pl_module, checkpoint)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the inputs of an earlier fit."""
        self._examples = []
        self._copied = False

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Find the example inputs at the first batch, so that wrong ones are reported at once."""
        if not self._examples:
            self._examples = examples_in_training(self.example_inputs, pl_module, batch).calls
            if has_shards(pl_module):  # a forward pass takes all ranks
                return
            measured = [example for example in self._examples if example.measured]
            count_macs(pl_module, measured)  # only to run the model once, on a twin
        if self.during:
            self._compact_in_training(trainer, pl_module)

    def _compact_in_training(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compact the model if it is time; the best weights have another size then."""

        def examples() -> list[ExampleInputs]:
            return list(trainer.strategy.broadcast(self._examples))

        if self._in_training.advance(trainer, pl_module, examples) is not None:
            self._best = BestWeights(self.mode)

    @override
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Copy the module once after the first batch, with what it has kept of that."""
        if not (self._copied or has_shards(pl_module)):
            self._copied = True
            check_copied(pl_module)

    @override
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look at the very weights that are validated, once others have put theirs there."""
        first = batch_idx == 0 and dataloader_idx == 0
        if self.monitor is not None and first and trainer.state.fn == "fit":
            self._best.look(pl_module, masks_in_force(trainer))

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the weights if they are the best ones under these masks."""
        if self.monitor is not None and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._best.judge(monitored(trainer, self.monitor), trainer.global_step)

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compact the model, print and log the report."""
        examples = self._examples or find_example_inputs(self.example_inputs, pl_module, None)
        self._examples = []
        if not examples and trainer.global_step == 0:
            rank_zero_warn("Nothing was compacted: the fit had no batch.")
            return
        if not examples:  # a resumed run that had nothing left to do
            batch = first_batch(trainer)
            examples = examples_in_training(self.example_inputs, pl_module, batch).calls
        # Ranks see different batches. The same inputs give the same compact model everywhere.
        examples = trainer.strategy.broadcast(examples)
        if has_shards(pl_module):
            self._compact_gathered(trainer, pl_module, examples)
            return
        self._choose_weights(trainer, pl_module)
        home = pl_module.device
        pl_module.to(trainer.strategy.root_device)
        try:
            self._compact(trainer, pl_module, examples)
        finally:
            pl_module.to(home)

    def _compact(
        self, trainer: L.Trainer, pl_module: L.LightningModule, examples: list[ExampleInputs]
    ) -> None:
        """Compact the model where it is, and say what came of it."""
        # Without the steps that ask the Trainer for something that is gone by now.
        examples = [one for one in examples if one.measured or can_run(pl_module, one)]
        full = self.full_size
        masked = pl_module if full is None else full.masked(pl_module)
        states = FullSizeStates(masked, examples, allow_unused=self.allow_unused)
        before = twin(masked)
        self.report = compact(masked, examples, latency=False, allow_unused=self.allow_unused)
        last = (
            self.report.plan
            if full is None
            else self._in_training.finish(pl_module, masked, examples)
        )
        states.attach(pl_module)
        self._best = BestWeights(self.mode)  # those of the full size are done with
        cut_optimizer_states(trainer, pl_module, last)
        forget_averages(trainer)
        check_sizes_agree(trainer, pl_module)
        if not trainer.is_global_zero:
            note(trainer, self.report)
        with failing_together(trainer):
            if trainer.is_global_zero:
                warn_left_behind(before, pl_module)
                self.report = self._publish(trainer, before, pl_module, self.report, examples[0])

    def _compact_gathered(
        self, trainer: L.Trainer, pl_module: L.LightningModule, examples: list[ExampleInputs]
    ) -> None:
        """Compact a copy of a sharded model, on rank zero."""
        gathered = gather(pl_module, keep=trainer.is_global_zero)
        with failing_together(trainer):
            if gathered is not None:
                before, examples = twin(gathered), [example.map(Tensor.cpu) for example in examples]
                self.report = compact(
                    gathered, examples, latency=False, allow_unused=self.allow_unused
                )
                self.report = self._publish(trainer, before, gathered, self.report, examples[0])
                print_as_is(
                    pl_module, f"The sharded model keeps its size; the compact one is {self.path}"
                )

    def _choose_weights(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the best weights back, where they were asked for, and say which."""
        if self.monitor is None:
            return
        if self._best.restore(pl_module, masks_in_force(trainer)):
            print_as_is(
                pl_module,
                f"compacting the weights of step {self._best.step}, the best at this sparsity: "
                f"{self.monitor} {self._best.value:.4g}",
            )
            return
        rank_zero_warn(
            f"Expected a validation with `{self.monitor}` under the masks in force, but got none "
            "since they were updated or taken back. The last weights are compacted; train or "
            "validate for longer."
        )

    @override
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Let the next call start without the checkpoint that this one could not load."""
        if self.report is not None:
            forget_checkpoint(trainer)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the best weights so far, where they are asked for, and when it was compacted."""
        state = {} if self.monitor is None else self._best.state_dict()
        return {**state, "in_training": self._in_training.state_dict()} if self.during else state

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        if self.monitor is not None and "weights" in state_dict:
            self._best.load_state_dict(state_dict)
        if self.during and "in_training" in state_dict:
            self._in_training.load_state_dict(state_dict["in_training"])
