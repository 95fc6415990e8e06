"""Follow: run the smaller model beside the recording of the full one, and find what is stale.

Every operation is compared with the recorded one. A call with stale literals is noted, and made
rightly in its place, so that one run finds all of them. The run ends early where the smaller model
does something else than was recorded.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightning_prune.compaction import corrections
from lightning_prune.compaction.corrections import Correction
from lightning_prune.compaction.expect import Expectation, Mended, cut_bounds, mend
from lightning_prune.coupling.couple import prepare_training
from lightning_prune.coupling.forecast import Forecast, Trace
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.record import composite_operations, decompose
from lightning_prune.coupling.rules import RULES
from lightning_prune.errors import ExampleInputsError
from lightning_prune.multihead import take_sizes_from_tensors
from lightning_prune.twin import twin

_AHEAD = 12


@dataclass(frozen=True)
class Stale:
    """A recorded operation that the smaller model calls wrongly.

    Args:
        node: the operation.
        mended: the correction.
    """

    node: Node
    mended: Mended


@dataclass(frozen=True)
class Followed:
    """What a run beside a recording has found.

    Args:
        stale: calls to correct.
        stopped: the operation at which the run ended early, None if it did not.
        reason: why.
    """

    stale: tuple[Stale, ...]
    stopped: Node | None = None
    reason: str = ""


def follow(model: nn.Module, trace: Trace, forecast: Forecast) -> Followed:
    """Run ``model`` beside a recording of it in full size.

    Args:
        model: the smaller model; it is left alone.
        trace: the recording.
        forecast: what stays of the recorded values.

    Returns:
        What is stale.
    """
    copy = twin(model)
    take_sizes_from_tensors(copy)
    copy.eval()
    if trace.training:
        prepare_training(copy)
    follower = _Follower(trace, forecast)
    inputs = trace.inputs.map(torch.clone)
    try:
        with torch.random.fork_rng(devices=[]), composite_operations(), follower:
            inputs(copy)
    except ExampleInputsError as error:
        return Followed(tuple(follower.stale), follower.expected, str(error.__cause__))
    return Followed(tuple(follower.stale))


class _AnotherCourseError(Exception):
    """The smaller model does something else than was recorded."""


class _Follower(TorchDispatchMode):
    """The dispatch mode that compares."""

    def __init__(self, trace: Trace, forecast: Forecast) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stale: list[Stale] = []
        self._trace = trace
        self._forecast = forecast
        self._next = 0
        self._correction: FrameType | None = None

    @property
    def expected(self) -> Node | None:
        """The recorded operation that comes next."""
        nodes = self._trace.graph.nodes
        return nodes[min(self._next, len(nodes) - 1)] if nodes else None

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = decompose(self, func, RULES.__contains__, args, kwargs)
        if result is not NotImplemented:
            return result
        if self._is_corrected():
            return func(*args, **kwargs)
        if func in _IDLE and not self._is_ahead(func):
            return func(*args, **kwargs)
        node = self._align(func)
        self._check_shapes(node, args, kwargs)
        mended = mend(Expectation(node, self._trace, self._forecast), func, args, kwargs)
        self._next += 1
        if mended is None:
            return func(*args, **kwargs)
        self.stale.append(Stale(node, mended))
        return mended.run()

    def _is_corrected(self) -> bool:
        """Tell whether a correction is running that computes a recorded operation its own way."""
        frame = corrections.running(sys._getframe(1))
        if frame is not None and frame is not self._correction:
            self._next += 1
        self._correction = frame
        return frame is not None

    def _is_ahead(self, func: OpOverload) -> bool:
        """Tell whether an operation comes next, but for those that may be left out."""
        for node in self._trace.graph.nodes[self._next : self._next + _AHEAD]:
            if node.op is func or node.name not in _FOLDED:
                return node.op is func
        return False

    def _align(self, func: OpOverload) -> Node:
        """Return the recorded operation that this one is."""
        nodes = self._trace.graph.nodes
        for ahead in range(self._next, min(self._next + _AHEAD, len(nodes))):
            if nodes[ahead].op is func:
                self._skip(nodes[self._next : ahead])
                self._next = ahead
                return nodes[ahead]
            if nodes[ahead].name not in _FOLDED:
                break
        raise _AnotherCourseError(f"{func} runs instead of {self.expected}")

    def _skip(self, nodes: list[Node]) -> None:
        """Note slices that the interpreter has left out, for they now take all there is."""
        for node in (node for node in nodes if node.name == "aten::slice"):
            bounds = cut_bounds(Expectation(node, self._trace, self._forecast))
            source: Ref = node.args[0]
            size = len(self._trace.graph[source].shape)
            dim = node.argument("dim", 0) % size
            if bounds is not None and bounds != (0, self._forecast.shape(source)[dim]):
                cut = Correction("recut", (dim, *bounds))
                self.stale.append(Stale(node, Mended(cut, lambda: None)))

    def _check_shapes(self, node: Node, args: Any, kwargs: Any) -> None:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        for tensor, ref in zip(given, node.inputs, strict=False):
            foretold = self._forecast.shape(ref)
            if tuple(tensor.shape) != foretold:
                raise _AnotherCourseError(
                    f"{node} takes a tensor of {tuple(tensor.shape)}, not {foretold}"
                )


_FOLDED = frozenset({"aten::slice", "aten::contiguous"})
"""Operations that are left out where they have nothing to do."""

_IDLE = frozenset({torch.ops.aten.alias.default, torch.ops.aten.contiguous.default})
"""Operations that run where others were left out."""
