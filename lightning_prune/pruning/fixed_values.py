"""Fixed values: what is added to the results of weights and is not trained, like positions.

They are zeroed with the units, and given back where units are kept again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_prune.modules.names import tensors_by_any_name
from lightning_prune.modules.shards import local, shard_like, whole
from lightning_prune.units.group import Group
from lightning_prune.units.weight_mask import WeightMask


class FixedValues:
    """The buffers and frozen parameters of a model that are zeroed with its units.

    Args:
        model: any module.
        groups: the groups of its units.

    Attributes:
        saved: what they held where they are zeroed, and zero elsewhere, by name.
    """

    def __init__(self, model: nn.Module, groups: Sequence[Group]) -> None:
        self._model = model
        self._names = {m.axis.tensor for g in groups for m in g.members if m.added}
        self._masks: dict[str, Tensor] = {}
        self.saved: dict[str, Tensor] = {}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name; buffers are others after a model has moved."""
        found = tensors_by_any_name(self._model) if self._names else {}
        return {name: found[name] for name in self._names if not found[name].requires_grad}

    @torch.no_grad()
    def keep(self, masks: Mapping[str, WeightMask]) -> None:
        """Zero what is masked, and give back what was and is no more.

        Args:
            masks: by name; what has none is kept whole.
        """
        for name, tensor in self.tensors.items():
            if name not in masks and name not in self._masks:
                continue
            value = whole(tensor.detach())
            everything = torch.ones_like(value, dtype=torch.bool)
            before = self._masks.get(name, everything).to(value.device)
            after = masks[name].whole().to(value.device) if name in masks else everything
            saved = self.saved.get(name, torch.zeros_like(value)).to(value)
            value = torch.where(before, value, saved)
            self.saved[name] = value.masked_fill(after, 0)
            self._masks[name] = after
            local(tensor).copy_(shard_like(value.masked_fill(~after, 0), tensor))

    def narrow(self, narrowed: Callable[[str, Tensor], Tensor]) -> None:
        """Keep of what was saved what remains of the tensors, which have become smaller.

        Args:
            narrowed: returns what remains of a tensor, by its name.
        """
        self._masks = {name: narrowed(name, mask) for name, mask in self._masks.items()}
        self.saved = {name: narrowed(name, saved) for name, saved in self.saved.items()}

    def restore(self, masks: Mapping[str, WeightMask], saved: Mapping[str, Tensor]) -> None:
        """Take over what was saved when these masks were applied."""
        self._masks |= {name: mask.whole() for name, mask in masks.items() if name in saved}
        self.saved |= {name: saved[name] for name in saved if name in self._names}

    def adopt(self, other: FixedValues) -> None:
        """Take over what another one has saved of the same tensors."""
        self._masks |= other._masks
        self.saved |= {name: other.saved[name] for name in other.saved if name in self._names}
