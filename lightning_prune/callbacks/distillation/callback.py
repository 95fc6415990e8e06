"""Distillation as a callback: while it trains, a module also learns from a teacher's outputs.

It wraps the training step for the duration of a fit, and nothing else: no parameter, buffer, child
or key of the state dict is added to the module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.arguments import (
    check_choice,
    check_flags,
    check_fraction,
    check_integer,
    check_name,
    check_positive,
)
from lightning_prune.callbacks.distillation.checks import (
    check_apart,
    check_teacher,
    feature_weights,
)
from lightning_prune.callbacks.distillation.lesson import Kind, Lesson
from lightning_prune.callbacks.distillation.step import DistilledStep
from lightning_prune.callbacks.distillation.watching import submodule, watching
from lightning_prune.callbacks.trainer.full_size import full_size
from lightning_prune.callbacks.trainer.namespaces import Callback
from lightning_prune.callbacks.trainer.strategies import check_strategy
from lightning_prune.modules.cpu_copies import cpu_copies
from lightning_prune.modules.twin import clone, twin

_VERSION = 1


class Distillation(Callback):
    r"""Let a module learn from a teacher, too, such as its own unpruned self.

    In every training step, the teacher runs in eval mode and without gradients on what the module
    was called with, and the loss becomes

    .. math:: (1 - w) \, L + w \, T^2 \, \mathrm{KL}(\mathrm{softmax}(z_t / T) \,\|\,
        \mathrm{softmax}(z_s / T)) + \sum_i w_i \, d_i

    with the loss :math:`L` that the step returns, the outputs :math:`z_s` of the student and
    :math:`z_t` of the teacher, and distances :math:`d_i` between features, each of length 1. All
    but the first part is logged as ``distillation/loss``. Several calls in a step are averaged;
    those without gradients do not count. Under manual optimization there is no loss to add to.

    Hinton et al., 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531; of
    features, Romero et al., 2014, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550.

    Args:
        teacher: ``"dense"`` for the module as it is when ``start_epoch`` starts, before anything is
            pruned there; it should be trained by then. Every checkpoint holds it (one more copy of
            the weights, on the CPU, in the callback's state), so that a resumed run has the very
            same teacher. Or another module that takes the same inputs, which is left as it is, and
            has to be passed again when a run is resumed.
        temperature: of both softmaxes, greater than 0; more shows more of what the teacher knows.
        weight: of the teacher's outputs, in [0, 1]; the rest is that of the step's own loss.
        kind: ``"kl"`` for logits of classes, as above; ``"mse"`` for other outputs, whose mean
            squared difference takes the place of the divergence.
        dim: that of the classes: 1 as for ``torch.nn.functional.cross_entropy``, or -1.
        features: names of modules whose outputs are compared, too, or their weights by name; a name
            alone weighs 1. The teacher has the same names, and outputs of the same shapes.
        module: name of the module that the training step calls; by default the LightningModule
            itself, as ``self(x)`` does. Other names are those in this module, then, and a teacher
            that is passed takes its place.
        output: name of the module whose outputs are compared, of a head, say; by default what the
            call returns: a tensor, or a mapping with ``"logits"``.
        start_epoch: the first epoch with the teacher, at least 0. With the dense self, that of the
            first pruning is a good one: before it, the module would learn from what it is.
        untried_strategy: let strategies through with which distillation was not tried.

    Raises:
        ValueError: if an argument is outside its range.
        TypeError: if an argument is of another type.
    """

    def __init__(
        self,
        teacher: Literal["dense"] | nn.Module = "dense",
        *,
        temperature: float = 4.0,
        weight: float = 0.5,
        kind: Kind = "kl",
        dim: Literal[1, -1] = 1,
        features: Mapping[str, float] | Sequence[str] | None = None,
        module: str | None = None,
        output: str | None = None,
        start_epoch: int = 0,
        untried_strategy: bool = False,
    ) -> None:
        check_teacher(teacher)
        check_positive("temperature", temperature, "It divides the logits.")
        check_fraction("weight", weight, "[0, 1]", "It is the teacher's share of the loss.")
        check_choice("kind", kind, get_args(Kind), "It is the distance between outputs.")
        check_choice("dim", dim, (1, -1), "It is the dimension of the classes.")
        for argument, name in (("module", module), ("output", output)):
            if name is not None:
                check_name(argument, name, "It is the name of a module.")
        check_integer("start_epoch", start_epoch, 0, "It is the first epoch with the teacher.")
        check_flags(untried_strategy=untried_strategy)
        weights = feature_weights(features, weight)
        self.teacher = teacher
        self.start_epoch = start_epoch
        self.untried_strategy = untried_strategy
        self.module = module or ""
        self.lesson = Lesson(kind, temperature, dim, weight, output or "", weights)
        self._teacher: nn.Module | None = None  # while a fit runs
        self._dense: dict[str, Any] | None = None  # its state
        self._step: DistilledStep | None = None
        self._warned = False

    def needs_full_size(self) -> str | None:
        """Return why the module must not become compact meanwhile, if features are compared."""
        if not self.lesson.features:
            return None
        return "the features of the student would be smaller than its teacher's. Name none."

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what cannot be distilled; forget an earlier fit."""
        if stage != "fit":
            return
        sharded = "Train under DDP or on one device."
        check_strategy(trainer, "Distillation", untried=self.untried_strategy, sharded=sharded)
        if not pl_module.automatic_optimization:
            raise ValueError(
                "Expected `automatic_optimization` to be True for Distillation, but got False: "
                f"the loss of {type(pl_module).__name__} is used up within its training step. Let "
                "Lightning optimize, or add the teacher's part to the loss in that step."
            )
        self._teacher = self._dense = None
        self._warned = False

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse names of no module, now that the model is complete."""
        student = submodule("module", pl_module, self.module)
        for one in (student, self.teacher):
            if isinstance(one, nn.Module):
                submodule("output", one, self.lesson.output)
                for name in self.lesson.features:
                    submodule("features", one, name)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the teacher, if it is time, and wrap the training step."""
        if self._dense is not None or trainer.current_epoch >= self.start_epoch:
            self._find_teacher(trainer, pl_module)

        def run(plain: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            if trainer.current_epoch < self.start_epoch:
                return plain(*args, **kwargs)
            return self._distilled(trainer, pl_module, plain, args, kwargs)

        self._step = DistilledStep(pl_module, run)

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Copy the dense module with the last batch before: others prune when the epoch starts."""
        is_last = trainer.is_last_batch and trainer.current_epoch + 1 >= self.start_epoch
        if self._teacher is None and is_last:
            self._find_teacher(trainer, pl_module)

    def _find_teacher(self, trainer: L.Trainer, pl_module: L.LightningModule) -> nn.Module:
        """Make the teacher: another copy on every rank, all of them the same."""
        if self._teacher is not None:
            return self._teacher
        if isinstance(self.teacher, nn.Module):
            check_apart(self.teacher, pl_module)
            made = trainer.precision_plugin.convert_module(twin(self.teacher))
        else:
            made = clone(submodule("module", self._dense_form(pl_module), self.module))
            if self._dense is None:
                self._dense = trainer.strategy.broadcast(cpu_copies(made.state_dict()))
            made.load_state_dict(self._dense, strict=pl_module.strict_loading)
        self._teacher = made.to(pl_module.device).eval().requires_grad_(False)
        return self._teacher

    def _dense_form(self, pl_module: L.LightningModule) -> L.LightningModule:
        """Return the module in the size of the teacher: it may have become compact since."""
        own = submodule("module", pl_module, self.module).state_dict()
        dense = self._dense or own
        if all(dense[name].shape == own[name].shape for name in own if name in dense):
            return pl_module
        return full_size(pl_module)

    def _distilled(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        plain: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run a training step, and return what it returned with another loss."""
        teacher = self._find_teacher(trainer, pl_module)
        student = submodule("module", pl_module, self.module)
        with watching(student, self.lesson.names) as watched:
            returned = plain(*args, **kwargs)
        loss = returned.get("loss") if isinstance(returned, Mapping) else returned
        if not isinstance(loss, Tensor):  # a step that is skipped, or that Lightning refuses
            return returned
        if not watched.inputs:
            self._warn(pl_module)
            return returned
        term = self.lesson.term(watched, teacher)
        pl_module.log("distillation/loss", term.detach(), batch_size=1)
        loss = (1.0 - self.lesson.weight) * loss + term
        return {**returned, "loss": loss} if isinstance(returned, Mapping) else loss

    def _warn(self, pl_module: L.LightningModule) -> None:
        """Warn once of steps that do not call the student."""
        if self._warned:
            return
        self._warned = True
        children = ", ".join(repr(name) for name, child in pl_module.named_children())
        called = repr(self.module) if self.module else "the LightningModule itself, as self(x) does"
        rank_zero_warn(
            "Distillation adds nothing to the loss, for the training step does not call "
            f"{called}. Name by `module` what it calls: {children}."
        )

    def _stop(self) -> None:
        """Give the module its own training step back, and free the memory of the teacher."""
        if self._step is not None:
            self._step.stop()
        self._step = self._teacher = None

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the module its own training step back."""
        self._stop()

    @override
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Give the module its own training step back."""
        self._stop()

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the module its own training step back."""
        self._stop()

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the weights of the dense teacher, once there is one."""
        return {} if self._dense is None else {"version": _VERSION, "dense": self._dense}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        if self.teacher == "dense":
            self._dense = state_dict.get("dense")
