"""ConstantPropagation: which elements of the values of a recorded pass are the same for any input.

A proof, not a measurement: an element is constant if nothing that varies can reach it. What varies
are the inputs, random numbers, buffers that a forward pass changes, and tensors made on the way
unless they are filled with one literal number. An operation either has a transfer function, which
holds for all sizes, or its results vary everywhere.

The proof is about the recorded path and the Python numbers in it. A pass in which the model looks
at numbers that vary proves nothing: its path and its numbers may be others the next time. A Python
number that follows from sizes cannot be told from a literal; verification at other sizes refuses
those.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from lightning_prune.compaction.constants.known import Known, fixed
from lightning_prune.compaction.constants.origins import Origins
from lightning_prune.compaction.constants.step import Results, Step
from lightning_prune.compaction.constants.transfers import transfer
from lightning_prune.coupling.forecast import Trace
from lightning_prune.coupling.graph import Node, Ref

_FAILURES = (RuntimeError, TypeError, ValueError, NotImplementedError, IndexError)


class Unproved(Exception):  # noqa: N818 it carries the reason, and is never raised out of here
    """Why nothing is proved about a recorded pass."""


class ConstantPropagation:
    """What is constant in one recorded pass.

    Args:
        trace: the recorded pass.
        tensors: the parameters and buffers that no forward pass changes, by name.
    """

    def __init__(self, trace: Trace, tensors: Mapping[str, Tensor]) -> None:
        self._trace = trace
        self._tensors = tensors
        self._device = next((t.device for t in tensors.values()), torch.device("cpu"))
        self._known: dict[Ref, Known | None] = {}
        self._origins = Origins.of(trace.graph)

    def run(self, places: Collection[int]) -> dict[int, list[Known | None]]:
        """Return what is known of what some operations read.

        Args:
            places: of these operations among the nodes of the recording.

        Returns:
            For each place what is known of its inputs, in order; None = every element may vary.

        Raises:
            Unproved: if the model looks at numbers that vary.
        """
        nodes = self._trace.graph.nodes
        uses_left = Counter(ref for node in nodes for ref in node.inputs)
        read: dict[int, list[Known | None]] = {}
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for place, node in enumerate(nodes):
                if place in places:
                    read[place] = [self._look_up(ref) for ref in node.inputs]
                self._visit(node)
                uses_left.subtract(node.inputs)
                for ref in node.inputs:
                    if not uses_left[ref]:
                        self._known.pop(ref, None)
        return read

    def _visit(self, node: Node) -> None:
        known = {ref: self._look_up(ref) for ref in node.inputs}
        if node.hands_over and any(k is None or not k.is_fixed for k in known.values()):
            raise Unproved(f"the model looks at numbers that vary ({node})")
        found: Results = []
        # What is empty may hold something at other sizes.
        if all(math.prod(self._trace.graph[ref].shape) for ref in known):
            with contextlib.suppress(*_FAILURES):  # stand-ins are no input that it takes
                found = transfer(Step(node, self._trace, known, self._origins, self._device))
        # What is written in place changes for its other views, too.
        self._known.update(dict.fromkeys((*node.aliases, *node.results)))
        self._known.update(zip(node.results, found, strict=False))

    def _look_up(self, ref: Ref) -> Known | None:
        if ref not in self._known:
            self._known[ref] = self._made(ref)
        return self._known[ref]

    def _made(self, ref: Ref) -> Known | None:
        value = self._trace.graph[ref]
        if value.name is not None and value.name in self._tensors:
            return fixed(self._tensors[value.name])
        if value.number is not None and value.kind == "constant":
            number = torch.tensor(value.number, dtype=value.dtype, device=self._device)
            return fixed(number.reshape(value.shape))
        return None
