"""Dense states: a compact module that still loads the state dicts from before its compaction.

A checkpoint of the training holds the model in its full size. It is loaded into a model of that
size, compacted there like the first one, and taken over if the same sizes come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_prune.compaction.compact import compact
from lightning_prune.compaction.full_size import FullSize
from lightning_prune.errors import PruningError
from lightning_prune.modules.inputs import ExampleInputs


class FullSizeStates:
    """Make it before a compaction, and attach it after.

    Args:
        model: the module that is about to be compacted; its structure is remembered, and its
            buffers, but not its parameters.
        examples: what the compaction runs on.
        allow_unused: as in `compact`.
    """

    def __init__(
        self, model: nn.Module, examples: Sequence[ExampleInputs], *, allow_unused: bool = False
    ) -> None:
        self._dense = FullSize(model)
        self._examples = [one.map(lambda tensor: tensor.detach().cpu()) for one in examples]
        self._allow_unused = allow_unused
        self._full = _shapes(model.state_dict())
        self._compact: dict[str, torch.Size] = {}

    def attach(self, model: nn.Module) -> RemovableHandle:
        """Let ``model``, which is compact now, load states of both sizes.

        Args:
            model: the module that this was made from.

        Returns:
            A handle that takes this back.
        """
        self._compact = _shapes(model.state_dict())
        handle: RemovableHandle = model.register_load_state_dict_pre_hook(self._before_load)
        return handle

    def shrink(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bring a state of the full size to the compact sizes.

        Args:
            state: a state dict from before the compaction.

        Returns:
            A state dict that fits the compact module.

        Raises:
            ValueError: if it does not come out in the sizes of the compact module.
        """
        model = self._dense.zeros().cpu()
        model.load_state_dict(state)
        try:
            compact(model, self._examples, latency=False, allow_unused=self._allow_unused)
        except PruningError as error:
            raise ValueError(_refusal(str(error))) from error
        shrunk = model.state_dict()
        misfits = [
            f"{name} {tuple(tensor.shape)} for {tuple(self._compact[name])}"
            for name, tensor in shrunk.items()
            if tensor.shape != self._compact[name]
        ]
        if misfits:
            raise ValueError(_refusal(", ".join(misfits[:3])))
        return shrunk

    def _before_load(
        self, module: nn.Module, state: dict[str, Any], prefix: str, *unused: Any
    ) -> None:
        """Shrink a state of the full size in place, before torch looks at it."""
        mine = {name: state[prefix + name] for name in self._full if prefix + name in state}
        if _shapes(mine) == self._full != self._compact:
            state.update({prefix + name: t for name, t in self.shrink(mine).items()})


def loads_full_size(model: nn.Module) -> bool:
    """Tell whether a compact module loads states from before its compaction, too."""
    hooks = [getattr(hook, "hook", hook) for hook in model._load_state_dict_pre_hooks.values()]
    return any(isinstance(getattr(hook, "__self__", None), FullSizeStates) for hook in hooks)


def _shapes(state: dict[str, Any]) -> dict[str, torch.Size]:
    """Return the shapes of a state dict; what is no tensor has none."""
    return {name: tensor.shape for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _refusal(found: str) -> str:
    """Return the message for a state that does not shrink to the compact sizes."""
    return (
        "Expected the checkpoint to have its zeros where the compact model lost its units, but got "
        f"{found}. Its weights are from before the last update of the masks, or of another run: "
        "load it into a new model of full size, or take a checkpoint of the target sparsity."
    )
