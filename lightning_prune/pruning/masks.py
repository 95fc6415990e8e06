"""Masks: which units of a model are kept, and its weights at zero where they are not.

They zero in place; shapes and names never change.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from lightning_prune.modules.names import parameters_by_any_name, plain_name
from lightning_prune.modules.shards import is_sharded
from lightning_prune.pruning.bits import pack, unpack
from lightning_prune.pruning.enforcement import Enforcement
from lightning_prune.pruning.release import restart
from lightning_prune.pruning.state import VERSION, check_groups_match
from lightning_prune.pruning.weights import binds, weights_of
from lightning_prune.units.group import Group
from lightning_prune.units.masks import parameter_masks


class Masks(Mapping[str, Tensor]):
    """Masks over the units of a model: a mapping of parameter names to boolean masks.

    ``True`` = kept. Parameters of which everything is kept are not in it.

    Args:
        model: any module; its parameters are changed in place.
        groups: the groups of its units; at first, all units are kept.

    Attributes:
        groups: the groups.
        weights: the parameters on which the units lie, by name.
        shapes: their shapes when the masks were made, by name.
        kept: for each group a boolean tensor of shape ``[units]`` on the CPU, ``True`` = kept.
        removed: how many units of each group are not kept.

    Raises:
        TargetError: if the weights are sharded in several ways or lie on several devices.
    """

    def __init__(self, model: nn.Module, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)
        self.weights = weights_of(model, self.groups)
        self.shapes = {name: weight.shape for name, weight in self.weights.items()}
        self.kept = tuple(torch.ones(g.units, dtype=torch.bool) for g in self.groups)
        self.removed = [0] * len(self.groups)
        self._enforcement = Enforcement(self.weights, {})

    @override
    def __getitem__(self, name: str) -> Tensor:
        return self._enforcement.masks[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._enforcement.masks)

    @override
    def __len__(self) -> int:
        return len(self._enforcement.masks)

    @property
    def sharded(self) -> bool:
        """Whether every rank holds a part of the weights."""
        return is_sharded(next(iter(self.weights.values())))

    def keep(self, kept: Sequence[Tensor]) -> None:
        """Keep these units and no others, and zero the others.

        Args:
            kept: for each group a boolean tensor of shape ``[units]`` on the CPU.
        """
        weight = next(iter(self.weights.values()))
        # Masks of sharded weights are whole, so they stay out of the accelerators' memory.
        device = torch.device("cpu") if self.sharded else weight.device
        masks = parameter_masks(self.groups, kept, self.shapes, device)
        self.kept = tuple(kept)
        self.removed = [int((~mask).count_nonzero()) for mask in kept]
        self._enforcement = Enforcement(self.weights, masks)
        self.apply()

    def release(self) -> None:
        """Keep all units: what was removed starts again from small random values."""
        masks, seed = dict(self), self.fingerprint()
        self.keep([torch.ones_like(kept) for kept in self.kept])
        restart(self.weights, masks, seed)

    def apply(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Zero what is masked in the weights among ``parameters``, ``None`` = in all of them.

        Call it after every step with those of the optimizer: others may be in a graph still.
        """
        self._enforcement.mask_weights(parameters)

    def apply_to_copy(self, model: nn.Module) -> None:
        """Zero what is masked in a copy of the model, such as an average of its weights."""
        self._enforcement.on(parameters_by_any_name(model)).mask_weights()

    def apply_to_gradients(self) -> None:
        """Zero what is masked in the gradients, so that they do not count in a clipping norm."""
        self._enforcement.mask_gradients()

    def apply_to_optimizer(self, optimizer: Optimizer) -> None:
        """Zero what is masked in the state of an optimizer; call it after an update."""
        self._enforcement.mask_optimizer_state(optimizer)

    def clear(self, state: Mapping[str, Tensor] | None = None) -> dict[str, int]:
        """Zero what is masked, in a state dict if one is given. Synchronises with the device.

        Returns:
            How many of it were finite and not zero, by name.
        """
        enforcement = self._enforcement if state is None else self._enforcement.on(state)
        return enforcement.clear_weights()

    def bind(self, model: nn.Module) -> bool:
        """Return whether ``model`` still has the very parameters that are masked."""
        return binds(model, self.weights, self.shapes)

    def fingerprint(self) -> int:
        """Return a checksum of the masks, by which ranks compare them."""
        return zlib.crc32(bytes(pack(torch.cat(self.kept)).tolist()))

    def adopt(self, other: Masks) -> None:
        """Keep of the groups that other masks know what those keep."""
        theirs = {group.name: kept for group, kept in zip(other.groups, other.kept, strict=True)}
        pairs = zip(self.groups, self.kept, strict=True)
        self.keep([theirs.get(group.name, kept) for group, kept in pairs])

    def state_dict(self) -> dict[str, Any]:
        """Return the masks as packed bits."""
        return {
            "version": VERSION,
            "groups": [plain_name(group.name) for group in self.groups],
            "units": [group.units for group in self.groups],
            "kept": [pack(kept) for kept in self.kept],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the masks of the same groups, else raise a `ValueError`."""
        check_groups_match(state, self.groups)
        pairs = zip(state["kept"], state["units"], strict=True)
        self.keep([unpack(packed.cpu(), units) for packed, units in pairs])
