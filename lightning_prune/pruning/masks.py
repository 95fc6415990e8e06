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

from lightning_prune.compaction.remaining import Remaining
from lightning_prune.modules.names import plain_name, tensors_by_any_name
from lightning_prune.modules.shards import is_sharded
from lightning_prune.pruning.bits import pack, unpack
from lightning_prune.pruning.enforcement import Enforcement
from lightning_prune.pruning.fixed_values import FixedValues
from lightning_prune.pruning.release import restart
from lightning_prune.pruning.state import VERSION, check_groups_match
from lightning_prune.pruning.weights import binds, weights_of
from lightning_prune.units.group import Group
from lightning_prune.units.masks import parameter_masks
from lightning_prune.units.weight_mask import WeightMask


class Masks(Mapping[str, Tensor]):
    """Masks over the units of a model: a mapping of parameter names to boolean masks.

    ``True`` = kept. Parameters of which everything is kept are not in it. What is held are flags
    along axes; whole masks are made when they are asked for.

    Args:
        model: any module; its parameters are changed in place.
        groups: the groups of its units in the full size; at first, all units are kept.
        remaining: what a compact model has of the full size; ``None`` = all of it.

    Attributes:
        groups: the groups.
        weights: the parameters on which the units lie, by name.
        shapes: their shapes in the full size, by name.
        remaining: what the model has of that.
        kept: for each group a boolean tensor of shape ``[units]`` on the CPU, ``True`` = kept.
        removed: how many units of each group are not kept.
        fixed: the buffers and frozen parameters that are zeroed with the units.

    Raises:
        TargetError: if the weights are sharded in several ways or lie on several devices.
    """

    def __init__(
        self, model: nn.Module, groups: Sequence[Group], remaining: Remaining | None = None
    ) -> None:
        self.groups = tuple(groups)
        self.remaining = remaining or Remaining()
        self.weights = weights_of(model, self.groups)
        self._shapes = {name: weight.shape for name, weight in self.weights.items()}
        full = self.remaining.full_shape
        self.shapes = {name: full(name, shape) for name, shape in self._shapes.items()}
        # One flag stands for all, until units are removed.
        self.kept = tuple(torch.ones((), dtype=torch.bool).expand(g.units) for g in self.groups)
        self.removed = [0] * len(self.groups)
        self.fixed = FixedValues(model, self.groups)
        self._enforcement = Enforcement(self.weights, {})
        self._masks: dict[str, WeightMask] = {}
        self._fingerprint: int | None = None

    @override
    def __getitem__(self, name: str) -> Tensor:
        return self._enforcement.masks[name].whole()

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
        self._masks = self._made(kept)
        self.kept, self._fingerprint = tuple(kept), None
        self.removed = [mask.numel() - int(mask.count_nonzero()) for mask in kept]
        weights = {name: mask for name, mask in self._masks.items() if name in self.weights}
        self._enforcement = Enforcement(self.weights, weights)
        self.apply()

    def _made(self, kept: Sequence[Tensor]) -> dict[str, WeightMask]:
        """Return the masks of weights and fixed values for these units."""
        weight = next(iter(self.weights.values()))
        # Masks of sharded weights are whole, so they stay out of the accelerators' memory.
        device = torch.device("cpu") if self.sharded else weight.device
        full, fixed = self.remaining.full_shape, self.fixed.tensors
        shapes = self.shapes | {name: full(name, value.shape) for name, value in fixed.items()}
        masks = parameter_masks(self.groups, kept, shapes, device)
        if not self.remaining:
            return masks
        narrowed = {n: self.remaining.narrowed_mask(n, mask) for n, mask in masks.items()}
        return {name: mask for name, mask in narrowed.items() if mask.removes}

    def widened(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor in the full size, with zeros where something was removed.

        Args:
            name: of a weight or fixed value.
            tensor: in the size that it has.
        """
        return self.remaining.widened(name, tensor)

    def narrow(self, later: Remaining) -> None:
        """Follow the model, which has become compact.

        Units that are removed stay among those of the groups, as masked ones.

        Args:
            later: what it has of the size that it had.
        """
        self.remaining = self.remaining.then(later)
        self._shapes = {name: weight.shape for name, weight in self.weights.items()}
        self.fixed.narrow(later.narrowed)
        self.keep(self.kept)

    def release(self) -> None:
        """Keep all units: what was removed starts again from small random values."""
        fixed, seed = self.fixed.tensors, self.fingerprint()
        masks = {name: mask for name, mask in self.items() if name not in fixed}
        self.keep([torch.ones_like(kept) for kept in self.kept])
        restart(self.weights, masks, seed)

    def apply(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Zero what is masked in the weights among ``parameters``, ``None`` = in all of them."""
        if parameters is None:  # a step changes no fixed value
            self.fixed.keep(self._masks)
        self._enforcement.mask_weights(parameters)

    def holds(self, weight: Tensor) -> bool:
        """Return whether nobody has written to a weight since it was masked, as its version tells.

        What is written to ``tensor.data`` counts as no write, and where writes are not counted, as
        in shards, none has happened.
        """
        return self._enforcement.holds(weight)

    def apply_to_copy(self, model: nn.Module) -> None:
        """Zero what is masked in a copy of the model, such as an average of its weights."""
        Enforcement.of(tensors_by_any_name(model), self._masks).mask_weights()

    def apply_to_gradients(self) -> None:
        """Zero what is masked in the gradients, so that they do not count in a clipping norm."""
        self._enforcement.mask_gradients()

    def begin_step(self, optimizer: Optimizer) -> None:
        """Note what a step of an optimizer begins with; gradients have just been masked."""
        self._enforcement.begin_step(optimizer)

    def end_step(self, optimizer: Optimizer) -> None:
        """Zero what is masked in the weights that an optimizer has stepped on.

        Not in others, which may be in a graph still; and in none, where zeros have stayed zero by
        themselves.
        """
        self._enforcement.end_step(optimizer)

    def apply_to_optimizer(self, optimizer: Optimizer) -> None:
        """Zero what is masked in the state of an optimizer; call it after an update."""
        self._enforcement.mask_optimizer_state(optimizer)

    def clear(self, state: Mapping[str, Tensor] | None = None) -> dict[str, int]:
        """Zero what is masked, in a state dict if one is given. Synchronises with the device.

        Returns:
            How many of it were finite and not zero, by name.
        """
        known = self._enforcement if state is None else Enforcement.of(state, self._masks)
        return known.clear_weights()

    def bind(self, model: nn.Module) -> bool:
        """Return whether ``model`` still has the very parameters that are masked."""
        return binds(model, self.weights, self._shapes)

    def fingerprint(self) -> int:
        """Return a checksum of the masks, by which ranks compare them."""
        if self._fingerprint is None:  # it may be asked for in every step
            self._fingerprint = zlib.crc32(bytes(pack(torch.cat(self.kept)).tolist()))
        return self._fingerprint

    def adopt(self, other: Masks) -> None:
        """Keep of the groups that other masks know what those keep."""
        theirs = {group.name: kept for group, kept in zip(other.groups, other.kept, strict=True)}
        pairs = zip(self.groups, self.kept, strict=True)
        self.fixed.adopt(other.fixed)
        self.keep([theirs.get(group.name, kept) for group, kept in pairs])

    def state_dict(self) -> dict[str, Any]:
        """Return the masks as packed bits."""
        return {
            "version": VERSION,
            "groups": [plain_name(group.name) for group in self.groups],
            "units": [group.units for group in self.groups],
            "kept": [pack(kept) for kept in self.kept],
            "narrowed": bool(self.remaining),
            "fixed": dict(self.fixed.saved),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the masks of the same groups, else raise a `ValueError`."""
        check_groups_match(state, self.groups)
        pairs = zip(state["kept"], state["units"], strict=True)
        kept = [unpack(packed.cpu(), units) for packed, units in pairs]
        self.fixed.restore(self._made(kept), state.get("fixed", {}))
        self.keep(kept)
