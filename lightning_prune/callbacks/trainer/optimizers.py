"""The optimizers of a training: their parameters, hooks around their steps, gradient scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import lightning as L
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


class StepHooks:
    """Two functions around every step of some optimizers, whoever calls it.

    Lightning tells when gradients are final (`announce`). Of a step that it does not make, the
    gradients are final when it begins, unless a closure computes them.

    Attributes:
        seen: whether any step was seen since they were attached.

    Args:
        before: called with the trainer and the optimizer once gradients are final.
        after: called with the optimizer after its step, and with the ids of the parameters whose
            gradients were not used by a step before: what wraps an optimizer steps after it.
    """

    def __init__(
        self,
        before: Callable[[L.Trainer, Optimizer], None],
        after: Callable[[Optimizer, set[int]], None],
    ) -> None:
        self._before = before
        self._after = after
        self.seen = False
        self._announced: set[int] = set()
        self._stepped: list[Optimizer] = []
        self._handles: list[RemovableHandle] = []

    def attach(self, trainer: L.Trainer, optimizers: Iterable[Optimizer]) -> None:
        """Hook into optimizers that are not hooked yet; those without hooks are left out.

        Args:
            trainer: the trainer.
            optimizers: the optimizers.
        """
        for optimizer in optimizers:
            # What derives from `Optimizer` without its constructor has none.
            hooks = getattr(optimizer, "_optimizer_step_post_hooks", None)
            if hooks is not None and self._on_end not in hooks.values():
                begin = partial(self._on_begin, trainer)
                self._handles.append(optimizer.register_step_pre_hook(begin))
                self._handles.append(optimizer.register_step_post_hook(self._on_end))

    def announce(self, trainer: L.Trainer, optimizer: Optimizer) -> None:
        """Take the gradients of the coming step for final.

        Args:
            trainer: the trainer.
            optimizer: what is about to step.
        """
        self._announced.update(map(id, parameters_of(optimizer)))
        self._before(trainer, optimizer)

    def stepped_on(self, optimizers: Iterable[Optimizer]) -> set[int]:
        """Return the ids of the parameters that some of the optimizers have stepped on.

        Every call starts anew. What wraps an optimizer may write parameters after the step of that,
        so only the steps of the given ones count.

        Args:
            optimizers: those that count.
        """
        stepped = [o for o in optimizers if any(o is seen for seen in self._stepped)]
        self._stepped.clear()
        return {id(parameter) for optimizer in stepped for parameter in parameters_of(optimizer)}

    def detach(self) -> None:
        """Remove every hook."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.seen = False
        self._stepped.clear()
        self._announced.clear()

    def _on_begin(self, trainer: L.Trainer, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # The first argument is the optimizer itself.
        if not any(callable(value) for value in (*args[1:], *kwargs.values())) and any(
            id(parameter) not in self._announced for parameter in parameters_of(optimizer)
        ):
            self.announce(trainer, optimizer)

    def _on_end(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        fresh = self._announced.intersection(map(id, parameters_of(optimizer)))
        self._announced -= fresh
        self.seen = True
        self._stepped.append(optimizer)
        self._after(optimizer, fresh)


def find_optimizers(trainer: L.Trainer, pl_module: L.LightningModule) -> list[Optimizer]:
    """Return the optimizers of a training.

    These are the trainer's, those among the attributes of modules, as in manual optimization, and
    those that other optimizers wrap.

    Args:
        trainer: the trainer.
        pl_module: the module that is trained.
    """
    found: dict[int, Optimizer] = {}
    waiting = [*trainer.optimizers]
    for module in pl_module.modules():
        waiting += _held_by(module)
    while waiting:
        optimizer = waiting.pop(0)
        if id(optimizer) not in found:
            found[id(optimizer)] = optimizer
            waiting += _held_by(optimizer)
    return list(found.values())


def grad_scale(trainer: L.Trainer, optimizer: Optimizer) -> Tensor | None:
    """Return what divides the gradients that ``on_before_optimizer_step`` shows.

    Under mixed precision, fused optimizers unscale within their step; to all others, Lightning
    hands unscaled gradients.

    Args:
        trainer: the trainer.
        optimizer: the optimizer that is about to step.

    Returns:
        The scale, or ``None`` where the gradients are unscaled.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return None
    # The public `get_scale` would wait for the device.
    scale = scaler._get_scale_async()
    return scale if isinstance(scale, Tensor) else None


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters that an optimizer steps on."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _held_by(owner: object) -> list[Optimizer]:
    """Return the optimizers among the attributes of an object, in lists and dicts, too."""
    held: list[Optimizer] = []
    for value in getattr(owner, "__dict__", {}).values():
        several = value.values() if isinstance(value, dict) else value
        found = several if isinstance(value, (dict, list, tuple)) else (value,)
        held += [one for one in found if isinstance(one, Optimizer)]
    return held
