"""Follow: run the smaller model beside the recording of the full one, and find what is stale.

Every operation is compared with the recorded one. A call with stale literals is noted, and made
rightly in its place, so that one run finds all of them. The run ends early where the smaller model
does something else than was recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from typing_extensions import override

from lightning_prune.compaction.repair.comparisons import Change, place_of, stale_attribute
from lightning_prune.compaction.repair.fixes import Arguments, Expectation, Fix
from lightning_prune.compaction.repair.position_fixes import cut_bounds, cut_correction
from lightning_prune.compaction.repair.size_fixes import fix_for
from lightning_prune.coupling.forecast import Forecast, Trace
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.record import OpObserver, mapped
from lightning_prune.coupling.replay import run_twin, twin_as_recorded
from lightning_prune.coupling.rules import RULES
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.operations import argument_names
from lightning_prune.modules.outlining import NumbersNeededError, Outlining, can_outline

log = logging.getLogger(__name__)

_AHEAD = 12
_COMING_AND_GOING = frozenset({"aten::slice", "aten::contiguous"})


@dataclass(frozen=True)
class Stale:
    """A recorded operation that the smaller model calls wrongly.

    Args:
        node: the operation.
        fix: the correction.
    """

    node: Node
    fix: Fix


@dataclass(frozen=True)
class Followed:
    """What a run beside a recording has found.

    Args:
        stale: calls to correct.
        right: operations that need no correction.
        given: the numbers among the arguments of every operation, by name.
        outputs: what the model returned, with every stale call made rightly; of ``numbers`` alone
            that holds for more than their sizes.
        stopped: the operation at which the run ended early, None if it did not.
        reason: why.
        compared: the attribute whose comparison with a width has ended it, with that width.
    """

    stale: tuple[Stale, ...]
    right: tuple[Node, ...]
    given: Mapping[Node, Arguments]
    outputs: tuple[Tensor, ...] = ()
    stopped: Node | None = None
    reason: str = ""
    compared: Change | None = None


def follow(
    model: nn.Module, trace: Trace, forecast: Forecast, *, numbers: bool = False
) -> Followed:
    """Run ``model`` beside a recording of it in full size.

    Args:
        model: the smaller model; it is left alone.
        trace: the recording.
        forecast: what stays of the recorded values.
        numbers: compute all numbers, also those that only the outputs need.

    Returns:
        What is stale.
    """
    if not numbers and can_outline(model, trace.inputs.tensors):
        try:
            run = _follow(model, trace, forecast, Outlining())
            if run.stopped is None:  # else it may be a made-up number that has ended it
                return run
        except NumbersNeededError as error:
            log.debug("%s is followed with numbers: %s", type(model).__name__, error)
    return _follow(model, trace, forecast)


def _follow(
    model: nn.Module, trace: Trace, forecast: Forecast, outlining: Outlining | None = None
) -> Followed:
    follower = _Follower(trace, forecast)
    copy = twin_as_recorded(model, trace)
    try:
        outputs = run_twin(copy, trace, [mode for mode in (outlining, follower) if mode])
        if outlining is not None:
            outlining.finish()
    except ExampleInputsError as error:
        if outlining is not None:
            outlining.finish()
        cause = error.__cause__ or error
        compared = stale_attribute(copy, cause)
        stopped, reason = follower.expected, _told(cause)
        found = tuple(follower.stale), tuple(follower.right), follower.given
        return Followed(*found, stopped=stopped, reason=reason, compared=compared)
    return Followed(tuple(follower.stale), tuple(follower.right), follower.given, outputs)


def _told(error: BaseException) -> str:
    """Return why a run has ended, never empty."""
    if isinstance(error, (_DivergedError, LookupError)):
        return str(error)
    return f"{type(error).__name__}: {error} ({place_of(error)})"


class _DivergedError(Exception):
    """The smaller model does something else than was recorded."""


class _Follower(OpObserver):
    """The dispatch mode that compares."""

    def __init__(self, trace: Trace, forecast: Forecast) -> None:
        super().__init__(RULES.__contains__)
        self.stale: list[Stale] = []
        self.right: list[Node] = []
        self.given: dict[Node, Arguments] = {}
        self._trace = trace
        self._forecast = forecast
        self._next = 0
        self._left_out: dict[Ref, list[tuple[int, int, int]]] = {}
        for node in trace.graph.nodes:  # now, as later this mode and others would see it
            for ref in (*node.inputs, *node.results):
                forecast.shape(ref)

    @property
    def expected(self) -> Node | None:
        """The recorded operation that comes next."""
        nodes = self._trace.graph.nodes
        return nodes[min(self._next, len(nodes) - 1)] if nodes else None

    @override
    def see(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operation as it should have been called."""
        node = self._align(func)
        if node is None:
            return func(*args, **kwargs)
        args, kwargs = self._as_predicted(node, args, kwargs)
        fix = fix_for(Expectation(node, self._trace, self._forecast), func, args, kwargs)
        self.given[node] = self._numbers(node, func, args, kwargs)
        self._next += 1
        if fix is None:
            self.right.append(node)
            return func(*args, **kwargs)
        self.stale.append(Stale(node, fix))
        return fix.run()

    def _numbers(self, node: Node, func: OpOverload, args: Any, kwargs: Any) -> Arguments:
        """Return the arguments that are no tensors, and tensors that were made of a number."""
        given: Arguments = {}
        named = zip(argument_names(func), args, strict=False)
        for name, value in (*named, *kwargs.items()):
            if not isinstance(value, Tensor):
                given[name] = value
                continue
            recorded = node.argument(name)
            if isinstance(recorded, Ref) and self._trace.graph[recorded].number is not None:
                given[name] = value.item() if value.numel() == 1 else None
        return given

    def _align(self, func: OpOverload) -> Node | None:
        """Return the recorded operation that this one is; None where it only passes on its input.

        Such operations come and go with sizes: an index may take all there is, and what has been
        moved may lie contiguously as it is.

        Raises:
            _DivergedError: if it was not recorded here.
        """
        nodes = self._trace.graph.nodes
        for ahead in range(self._next, min(self._next + _AHEAD, len(nodes))):
            if nodes[ahead].op is func:
                self._leave_out(nodes[self._next : ahead])
                return nodes[ahead]
            if nodes[ahead].name not in _COMING_AND_GOING:
                break
        expected = self.expected
        if func is torch.ops.aten.alias.default and expected and expected.name == "aten::slice":
            rest = nodes[self._next :]
            self._leave_out(list(takewhile(lambda node: _same_index(node, expected), rest)))
            return None
        if func is torch.ops.aten.contiguous.default:
            return None
        raise _DivergedError(f"{func} runs instead of {expected}")

    def _leave_out(self, nodes: list[Node]) -> None:
        """Pass over operations that only pass on their input now.

        Slices that should take less are stale, and who reads them gets what they should take.
        """
        for node in nodes:
            source: Ref = node.args[0]
            self._left_out[node.results[0]] = self._left_out.get(source, [])
            if node.name == "aten::slice":
                self._note_cut(node)
        self._next += len(nodes)

    def _note_cut(self, node: Node) -> None:
        expectation = Expectation(node, self._trace, self._forecast)
        bounds = cut_bounds(expectation)
        source: Ref = node.args[0]
        dim = node.argument("dim", 0) % len(self._trace.graph[source].shape)
        # What it is given cannot be seen; if that is not what was recorded, it will not be found.
        self.given[node] = {name: node.argument(name) for name in ("start", "end")}
        if bounds == (0, self._forecast.shape(source)[dim]):
            self.right.append(node)
        else:
            self._left_out[node.results[0]] = [*self._left_out.get(source, []), (dim, *bounds)]
            self.stale.append(Stale(node, Fix(cut_correction(expectation), lambda: None)))

    def _as_predicted(self, node: Node, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the arguments; they must have the sizes that the labels predict."""
        refs = iter(node.inputs)

        def check(leaf: Tensor) -> Tensor:
            ref = next(refs, None)
            if ref is None:
                return leaf
            for dim, start, end in self._left_out.get(ref, ()):
                leaf = leaf.narrow(dim, start, end - start)
            predicted = self._forecast.shape(ref)
            if leaf.numel() == 0 and 0 in predicted:
                return leaf  # nothing in it has an id that could tell the other sizes
            if tuple(leaf.shape) != predicted:
                raise _DivergedError(
                    f"{node} takes a tensor of {tuple(leaf.shape)}, not {predicted}"
                )
            return leaf

        return mapped(args, check), mapped(kwargs, check)


def _same_index(node: Node, other: Node) -> bool:
    return node.name == "aten::slice" and node.site == other.site
