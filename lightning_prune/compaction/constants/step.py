"""Step: one operation of a recorded pass, to be run on what is known of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from lightning_prune.compaction.constants.known import Known, unknown
from lightning_prune.compaction.constants.origins import Origins
from lightning_prune.coupling.forecast import Trace
from lightning_prune.coupling.graph import Node, Ref

Results = Sequence[Known | None]
"""What is known of each result of an operation; None = every element may vary."""


@dataclass(frozen=True, eq=False)
class Step:
    """One operation and what is known of its inputs.

    Args:
        node: the operation.
        trace: the recorded pass to which it belongs.
        known: by input; None = every element may vary.
        origins: which values are made without what the model is given.
        device: where to compute.
    """

    node: Node
    trace: Trace
    known: Mapping[Ref, Known | None]
    origins: Origins
    device: torch.device
    _unknown: dict[Ref, Known] = field(default_factory=dict)

    def value(self, ref: Ref) -> Known:
        """Return what is known of an input."""
        found = self.known[ref]
        if found is None:
            value = self.trace.graph[ref]
            found = self._unknown.setdefault(ref, unknown(value.shape, value.dtype, self.device))
        return found

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Return the recorded sizes of a result."""
        return self.trace.graph[self.node.results[index]].shape

    def is_of_channels(self, ref: Ref, dim: int) -> bool:
        """Tell whether an input has channels along a dimension, and differs along it alone.

        Args:
            ref: the input.
            dim: the dimension; negative ones count from the last.

        Returns:
            False also where the number of positions may follow from the sizes of the model's
            inputs, as along a table that is cut to the length of a sequence.
        """
        x = self.value(ref)
        dim %= x.varies.dim()
        is_labelled = any(dim in plane.varying for plane in self.trace.planes.get(ref, ()))
        if ref in self.origins.tables or not is_labelled:
            return False
        others = [d for d in range(x.varies.dim()) if d != dim]
        return not others or bool((x.is_uniform(others) | _all(x.varies, others)).all())

    def run(
        self, numbers: Callable[[Ref], Tensor], at: Mapping[int, Any] | None = None
    ) -> Sequence[Tensor]:
        """Return what the operation yields.

        Args:
            numbers: gives it its inputs.
            at: gives it other arguments at some positions.
        """
        at = at or {}
        args = [at.get(index, arg) for index, arg in enumerate(self.node.args)]

        def numbers_of(leaf: Any) -> Any:
            if not isinstance(leaf, Ref):
                return leaf
            return numbers(leaf).clone() if self.node.writes else numbers(leaf)

        args, kwargs = tree_map(numbers_of, (args, self.node.kwargs))
        return tree_leaves(self.node.op(*args, **kwargs))

    def numbers(self) -> Sequence[Tensor]:
        """Return what the operation yields for the known numbers of its inputs."""
        return self.run(lambda ref: self.value(ref).numbers)


def _all(varies: Tensor, dims: Sequence[int]) -> Tensor:
    return ~(~varies).any(list(dims), keepdim=True)


Transfer = Callable[[Step], Results]
"""What is known of results, from what is known of inputs."""


def operations(names: str) -> list[str]:
    """Return the names of operations, from what tells them apart, parted by spaces."""
    return [f"aten::{name}" for name in names.split()]
