"""Readers: the operations whose weights read the units of a group.

Only plain products count: what each of their channels reads can be moved into a bias, or into the
running mean of the batch norm behind them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_prune.coupling.forecast import Trace
from lightning_prune.coupling.graph import Graph, Node, Ref
from lightning_prune.units.group import Group, Member


@dataclass(frozen=True, eq=False)
class Use:
    """Where a recorded pass uses the weight of a reader.

    Args:
        trace: place of the pass among the recorded ones.
        place: of the operation among its nodes.
        node: the operation.
    """

    trace: int
    place: int
    node: Node

    @property
    def data(self) -> Ref:
        """What the weight reads."""
        ref: Ref = self.node.args[1 if self.node.name == "aten::addmm" else 0]
        return ref

    @property
    def pads(self) -> bool:
        """Whether zeros are put around what is read."""
        padding = self.node.argument("padding", 0)
        values = padding if isinstance(padding, (list, tuple)) else [padding]
        return any(value not in (0, "valid") for value in values)

    @property
    def channel(self) -> int:
        """The dimension of what is read along which the weight has its positions, negative."""
        return -int(self.node.name[-2]) - 1 if "conv" in self.node.name else -1


@dataclass(frozen=True, eq=False)
class Reader:
    """A weight that reads the units of a group.

    Args:
        member: the axis of it on which the units lie.
        uses: where recorded passes use it; each of them at most once.
        bias: name of the bias beside it.
        mean: without a bias, name of the running mean of the batch norm behind it.
    """

    member: Member
    uses: tuple[Use, ...]
    bias: str | None
    mean: str | None

    @property
    def target(self) -> str:
        """Name of what takes up a constant."""
        return str(self.bias if self.bias is not None else self.mean)


class Unfoldable(Exception):  # noqa: N818 it carries the reason, and is never raised out of here
    """Why the units of a group stay."""


class Readers:
    """The readers of the groups of a model.

    Args:
        traces: the recorded passes.
    """

    def __init__(self, traces: Sequence[Trace]) -> None:
        self._traces = traces
        self._uses: dict[str, list[Use]] = {}
        self._takers: list[dict[Ref, list[Node]]] = [defaultdict(list) for _ in traces]
        for number, trace in enumerate(traces):
            for place, node in enumerate(trace.graph):
                for ref in dict.fromkeys(node.inputs):
                    self._takers[number][ref].append(node)
                for name in dict.fromkeys(trace.graph[ref].name for ref in node.inputs):
                    if name is not None:
                        self._uses.setdefault(name, []).append(Use(number, place, node))

    def of(self, group: Group) -> list[Reader]:
        """Return everything that reads the units of a group.

        Args:
            group: its units may be read by other things than weights, too: see ``exposed``.

        Returns:
            One reader for each weight.

        Raises:
            Unfoldable: if something reads them that cannot take up a constant.
        """
        readers = [self._reader(m) for m in group.parameters if m.side == "in"]
        if not readers:
            raise Unfoldable("no weight reads it")
        return readers

    def _reader(self, member: Member) -> Reader:
        name = member.axis.tensor
        uses = self._uses.get(name, [])
        plain = all(_is_plain(use.node, member, self._graph(use)) for use in uses)
        if not uses or not plain or not self._is_used_once(name):
            raise Unfoldable(f"{name} does not read it in a plain product, once")
        biases, means = ({f(use) for use in uses} for f in (self._bias, self._mean))
        (bias, mean) = (_only(names) for names in (biases, means))
        if bias is not None and self._is_used_once(bias):
            return Reader(member, tuple(uses), bias, None)
        if biases == {None} and mean is not None and self._is_used_once(mean):
            return Reader(member, tuple(uses), None, mean)
        raise Unfoldable(f"{name} has no bias of its own to take it up")

    def _graph(self, use: Use) -> Graph:
        return self._traces[use.trace].graph

    def _is_used_once(self, name: str) -> bool:
        """Tell whether no recorded pass uses a parameter or buffer twice."""
        traces = [use.trace for use in self._uses[name]]
        return len(traces) == len(set(traces))

    def _bias(self, use: Use) -> str | None:
        is_addmm = use.node.name == "aten::addmm"
        bias = use.node.args[0] if is_addmm else use.node.argument("bias")
        return self._line(bias, use)

    def _mean(self, use: Use) -> str | None:
        """Return the running mean of the batch norm that alone takes what is computed.

        To subtract there what is no longer added is exact in train mode, too: the statistics of the
        batch and the running mean move by the same.
        """
        graph, result = self._graph(use), use.node.results[0]
        takers = self._takers[use.trace].get(result, [])
        if len(takers) != 1 or takers[0].name != "aten::batch_norm" or result in graph.outputs:
            return None
        return self._line(takers[0].argument("running_mean"), use)

    def _line(self, ref: object, use: Use) -> str | None:
        """Return the name of a parameter or buffer of one dimension."""
        if not isinstance(ref, Ref) or len(self._graph(use)[ref].shape) != 1:
            return None
        return self._graph(use)[ref].name


def _only(names: set[str | None]) -> str | None:
    return next(iter(names)) if len(names) == 1 else None


_IN_DIMS = {
    "aten::linear": 1,
    "aten::conv1d": 1,
    "aten::conv2d": 1,
    "aten::conv3d": 1,
    "aten::addmm": 0,
}


def _is_plain(node: Node, member: Member, graph: Graph) -> bool:
    weight = node.args[2 if node.name == "aten::addmm" else 1] if len(node.args) > 1 else None
    return (
        _IN_DIMS.get(node.name) == member.axis.dim
        and isinstance(weight, Ref)
        and graph[weight].name == member.axis.tensor
        and node.argument("groups", 1) == 1
        and node.argument("beta", 1) == node.argument("alpha", 1) == 1
    )
