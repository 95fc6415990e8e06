"""The guard: what is masked stays at zero, whoever writes the weights.

After the step of every optimizer that can be hooked, masked weights are zeroed, unless they have
stayed zero by themselves. Where no hook sees the step they are zeroed after the batch, and before a
validation or a checkpoint they are compared with zero: other weights may have been put there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from lightning_prune.callbacks.pruning.binding import Binding
from lightning_prune.callbacks.trainer.optimizers import (
    StepHooks,
    find_optimizers,
    grad_scale,
    parameters_of,
)
from lightning_prune.modules.gathering import reshard
from lightning_prune.modules.names import plain_name
from lightning_prune.pruning import BasePruner
from lightning_prune.pruning.shrinkage import Shrinkage


class Guard:
    """Keeps what a pruner masks at zero, and gives it the gradients of every step.

    Args:
        name: of the callback, for the warning.
        binding: has the masks, once there are some.
        shrinkage: shrinks the units of the next update.
        next_target: returns the sparsity of the next update, ``None`` if none is to come.
        score_every: of how many steps of an optimizer the gradients of one are read.
    """

    def __init__(
        self,
        name: str,
        binding: Binding,
        shrinkage: Shrinkage,
        next_target: Callable[[], float | None],
        score_every: int = 1,
    ) -> None:
        self._name = name
        self._binding = binding
        self._shrinkage = shrinkage
        self._next_target = next_target
        self._score_every = score_every
        self._steps: dict[str, int] = {}
        self._hooks = StepHooks(self._before_step, self._after_step)
        self._revived = False

    def start(self, trainer: L.Trainer) -> None:
        """Hook into the trainer's optimizers, which may be others than in the last batch."""
        self._hooks.attach(trainer, trainer.optimizers)

    def announce(self, trainer: L.Trainer, optimizer: Optimizer) -> None:
        """Take the gradients of the coming step for final."""
        self._hooks.announce(trainer, optimizer)

    def end_batch(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Mask the weights that a hooked optimizer has not left at zero by now.

        It may not have stepped on them, or something else has written to them after its step.
        """
        if not self._hooks.seen:  # it may have been made within the first step
            self._hooks.attach(trainer, find_optimizers(trainer, pl_module))
        pruner, done = self._binding.pruner, self._hooks.stepped_on(trainer.optimizers)
        if pruner is not None:
            masks = pruner.masks
            weights = list(masks.weights.values())
            if not self._revived:
                weights = [w for w in weights if id(w) not in done or not masks.holds(w)]
            masks.apply(weights)

    def check(self, trainer: L.Trainer, pl_module: L.LightningModule, moment: str) -> bool:
        """Mask what was revived, with a warning, and hook into all optimizers that can be found.

        Synchronises with the device.

        Args:
            trainer: the trainer.
            pl_module: the module that is trained.
            moment: what happens now, a clause.

        Returns:
            Whether the module has other parameters than those that are masked.
        """
        self._hooks.attach(trainer, find_optimizers(trainer, pl_module))
        pruner = self._binding.pruner
        if pruner is None:
            return False
        reshard(pl_module)
        self._warn(pruner.masks.clear(), moment)
        return not pruner.masks.bind(pl_module)

    def check_state(self, state: Mapping[str, Tensor], moment: str) -> None:
        """Mask a state dict of the module, with a warning of what was not zero there.

        Args:
            state: the state dict.
            moment: what happens now, a clause.
        """
        pruner = self._binding.pruner
        if pruner is not None:
            plain = {plain_name(name): tensor for name, tensor in state.items()}
            self._warn(pruner.masks.clear(plain), moment)

    def stop(self) -> None:
        """Remove every hook."""
        if self._binding.pruner is not None:
            self._binding.pruner.scorers.stop()
        self._hooks.detach()
        self._revived = False

    def _before_step(self, trainer: L.Trainer, optimizer: Optimizer) -> None:
        """Read the gradients of a step, then mask them."""
        pruner, target = self._binding.pruner, self._next_target()
        if pruner is None:
            return
        if target is not None:
            parameters = list(parameters_of(optimizer))
            if self._is_scored(pruner, parameters):
                pruner.accumulate(parameters, grad_scale(trainer, optimizer))
            self._shrinkage.choose(pruner, target)
        pruner.masks.apply_to_gradients()
        pruner.masks.begin_step(optimizer)

    def _is_scored(self, pruner: BasePruner, parameters: Sequence[Tensor]) -> bool:
        """Count a step of an optimizer, and return whether its gradients are read."""
        if self._score_every == 1:
            return True
        mine = {id(parameter) for parameter in parameters}
        weights = pruner.masks.weights.items()
        # An optimizer is known by its first weight, in a resumed run as well.
        first = next((name for name, weight in weights if id(weight) in mine), "")
        count = self._steps.get(first, 0)
        self._steps[first] = count + 1
        return count % self._score_every == 0

    def restart(self) -> None:
        """Read the gradients of the next step of every optimizer: an update has used the others."""
        self._steps = {}

    def state_dict(self) -> dict[str, int]:
        """Return the number of steps since the last update, by the optimizer's first weight."""
        return dict(self._steps)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take over what `state_dict` returned."""
        self._steps = dict(state)

    def _after_step(self, optimizer: Optimizer, fresh: set[int]) -> None:
        """Shrink the chosen units, and zero again what the optimizer has changed."""
        pruner = self._binding.pruner
        if pruner is not None:
            if not self._shrinkage.is_idle:
                self._shrinkage.apply(pruner, _rates(optimizer, fresh))
            pruner.masks.end_step(optimizer)

    def _warn(self, counts: Mapping[str, int], moment: str) -> None:
        """Warn once of masked weights that were not zero; from now on mask after every batch."""
        if not counts or self._revived:
            return
        self._revived = True
        rank_zero_warn(
            f"Expected the weights that `{self._name}` has masked to be zero when {moment}, but "
            f"got {sum(counts.values())} that are not, in {', '.join(counts)}. They are zero "
            "again. Something other than the step of an optimizer has written them: a hook that "
            "loads, swaps or averages weights, or a switch such as `optimizer.eval()`. Call "
            "`pruner.masks.apply()` of the callback after it, or `apply_to_copy(copy)` of the same "
            "for the other weights."
        )


def _rates(optimizer: Optimizer, stepped: Collection[int]) -> dict[int, float]:
    """Return the learning rates of some of an optimizer's parameters, by their ids."""
    return {
        id(parameter): float(group.get("lr", 1.0))
        for group in optimizer.param_groups
        for parameter in group["params"]
        if id(parameter) in stepped
    }
