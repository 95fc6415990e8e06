"""What remains of tensors of the full size in a compact model, and the way between both sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from lightning_prune.compaction.plan import Cut
from lightning_prune.modules.names import plain_name, tensors_by_any_name
from lightning_prune.units.group import Axis
from lightning_prune.units.weight_mask import WeightMask


class Remaining:
    """Which positions of tensors of the full size a compact model has.

    Args:
        axes: what stays along each axis that has shrunk; none by default.
        model: the compact model; tied tensors are known by each of their names.
    """

    def __init__(
        self, axes: Mapping[Axis, Cut] | None = None, model: nn.Module | None = None
    ) -> None:
        self._cuts: dict[str, dict[int, Cut]] = defaultdict(dict)
        tensors = {} if model is None else tensors_by_any_name(model)
        names: dict[int, list[str]] = defaultdict(list)
        for name, tensor in tensors.items():
            names[id(tensor)].append(name)
        for axis, cut in (axes or {}).items():
            name = plain_name(axis.tensor)
            for alias in names[id(tensors[name])] if name in tensors else [name]:
                self._cuts[alias][axis.dim] = cut

    def __bool__(self) -> bool:
        return bool(self._cuts)

    def then(self, later: Remaining) -> Remaining:
        """Return what remains after this and a later compaction."""
        both = Remaining()
        for name in dict.fromkeys((*self._cuts, *later._cuts)):
            first, second = self._cuts.get(name, {}), later._cuts.get(name, {})
            both._cuts[name] = dict(first)
            for dim, cut in second.items():
                both._cuts[name][dim] = first[dim].then(cut) if dim in first else cut
        return both

    def full_shape(self, name: str, shape: torch.Size) -> torch.Size:
        """Return the full shape of a tensor.

        Args:
            name: of the tensor.
            shape: its shape in the compact model.
        """
        cuts = self._cuts.get(name, {})
        return torch.Size(cuts[d].size if d in cuts else n for d, n in enumerate(shape))

    def narrowed(self, name: str, tensor: Tensor) -> Tensor:
        """Return what remains of a tensor of the full size.

        Args:
            name: of the tensor.
            tensor: in its full shape.
        """
        for dim, kept in self._positions(name, tensor.device):
            tensor = tensor.index_select(dim, kept)
        return tensor

    def widened(self, name: str, tensor: Tensor, elsewhere: Tensor | None = None) -> Tensor:
        """Return a tensor in its full size.

        Args:
            name: of the tensor.
            tensor: what remains of it.
            elsewhere: of the full shape, what it holds elsewhere; ``None`` = zeros.
        """
        for dim, kept in reversed(list(self._positions(name, tensor.device))):
            shape = list(tensor.shape)
            shape[dim] = self._cuts[name][dim].size
            tensor = tensor.new_zeros(shape).index_copy_(dim, kept, tensor)
        if elsewhere is None or name not in self._cuts:
            return tensor
        remains = torch.ones_like(self.narrowed(name, elsewhere), dtype=torch.bool)
        return torch.where(self.widened(name, remains), tensor, elsewhere.to(tensor))

    def narrowed_mask(self, name: str, mask: WeightMask) -> WeightMask:
        """Return what remains of the mask of a tensor of the full size."""
        positions = dict(self._positions(name, next(iter(mask.lines.values())).device))
        shape = torch.Size(
            len(positions[d]) if d in positions else n for d, n in enumerate(mask.shape)
        )
        lines = {
            dim: line.index_select(0, positions[dim]) if dim in positions else line
            for dim, line in mask.lines.items()
        }
        if -1 in lines:
            lines[-1] = self.narrowed(name, lines[-1].view(mask.shape)).flatten()
        return WeightMask(shape, lines)

    def widened_line(self, axis: Axis, line: Tensor, shape: torch.Size) -> Tensor:
        """Return a value for each position along an axis in the full size, zeros elsewhere.

        Args:
            axis: of the tensor.
            line: a value for each position that remains.
            shape: of what remains of the tensor.
        """
        if axis.dim < 0:
            return self.widened(axis.tensor, line.view(shape)).flatten()
        cut = self._cuts.get(axis.tensor, {}).get(axis.dim)
        if cut is None:
            return line
        kept = torch.tensor(cut.kept, dtype=torch.long, device=line.device)
        return line.new_zeros(cut.size).index_copy_(0, kept, line)

    def _positions(self, name: str, device: torch.device) -> Iterator[tuple[int, Tensor]]:
        for dim, cut in self._cuts.get(name, {}).items():
            yield dim, torch.tensor(cut.kept, dtype=torch.long, device=device)
