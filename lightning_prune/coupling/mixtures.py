"""Mixtures: stacked weights of which data pick whole rows, each an expert.

In ``y = sum over e of g[e] f(x; w[e])`` a router chooses some experts ``e`` for each position. An
expert whose rows are zero reads as zeros wherever it is picked, so its rows need not be stored. A
table counts only if every recording reads it by the number of a row, or in a product in groups.
Nothing here looks at values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from lightning_prune.coupling.graph import Graph, Node, Ref
from lightning_prune.coupling.modes import Recording
from lightning_prune.units.group import Axis, Group, Member

_NUMBERS = frozenset({"aten::item", "aten::_local_scalar_dense"})


@dataclass(frozen=True)
class Mixture:
    """Experts whose weights are stacked.

    Args:
        name: of the module that holds them; of the first parameter where that is the model.
        tables: names of the parameters; their first axes are the experts.
        experts: how many there are.
    """

    name: str
    tables: tuple[str, ...]
    experts: int

    @property
    def group(self) -> Group:
        """The experts as units."""
        members = [Member(Axis(table, 0), "out", self.experts) for table in self.tables]
        return Group(self.name, self.experts, tuple(members))


def find_mixtures(
    recordings: Sequence[Recording], shapes: Mapping[str, torch.Size]
) -> tuple[Mixture, ...]:
    """Return the mixtures of experts of a model, in the order of the network.

    Args:
        recordings: of it.
        shapes: of every parameter, by name.

    Returns:
        Mixtures that share no parameter.
    """
    uses = [_Uses(recording.graph) for recording in recordings]
    picked = dict.fromkeys(name for one in uses for name in one.picked)
    other = {name for one in uses for name in one.other}
    tables: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name in picked:
        if name in shapes and name not in other and shapes[name][0] > 1:
            tables[name.rpartition(".")[0], shapes[name][0]].append(name)
    return tuple(
        Mixture(owner or names[0], tuple(names), experts)
        for (owner, experts), names in tables.items()
        if any(len(shapes[name]) > 2 for name in names)  # a matrix for each
    )


class _Uses:
    """How one recording uses parameters.

    Args:
        graph: the recording.

    Attributes:
        picked: names of those of which data pick rows.
        other: names of those that are used in another way, too.
    """

    def __init__(self, graph: Graph) -> None:
        self.picked: dict[str, None] = {}
        self.other: set[str] = set()
        self._graph = graph
        self._tables: dict[Ref, str] = {
            ref: str(value.name)
            for ref, value in zip(map(Ref, range(len(graph.values))), graph.values, strict=True)
            if value.kind == "parameter" and len(value.shape) > 1
        }
        self._data = set(graph.inputs)
        for index, node in enumerate(graph):
            self._note(node, graph.nodes[index - 1] if index else None)

    def _note(self, node: Node, before: Node | None) -> None:
        if not self._data.isdisjoint(node.inputs):
            self._data.update((*node.results, *node.aliases))
        names = [self._tables[ref] for ref in node.inputs if ref in self._tables]
        if not names:
            return
        if self._picks(node, before) and len(names) == 1:
            self.picked[names[0]] = None
        elif self._is_by_row(node) and not node.writes:
            self._tables.update(dict.fromkeys(node.results, names[0]))
        else:
            self.other.update(names)

    def _picks(self, node: Node, before: Node | None) -> bool:
        """Tell whether data pick rows of a table, and nothing else happens to it."""
        match node.name, node.args:
            case "aten::index", (table, (Ref() as index, *others)):
                is_plain = not any(other is not None for other in others)
                picks = is_plain and index in self._data and self._is_whole(index)
            case "aten::index_select", (table, 0, index):
                picks = index in self._data
            case "aten::select", (table, 0, int()):
                read = before.inputs if before and before.name in _NUMBERS else ()
                picks = not self._data.isdisjoint(read)
            case "aten::_grouped_mm" | "transformers::grouped_mm_fallback", (rows, table, _):
                picks = [len(self._graph[ref].shape) for ref in (rows, table)] == [2, 3]
            case _:
                return False
        return picks and table in self._tables

    def _is_whole(self, index: Ref) -> bool:
        """Tell whether an index is made of numbers, and is no mask."""
        dtype = self._graph[index].dtype
        return not dtype.is_floating_point and dtype not in {torch.bool, torch.uint8}

    def _is_by_row(self, node: Node) -> bool:
        """Tell whether each row of the result is made of the same row of a table."""
        if node.name == "aten::transpose":
            rank = len(self._graph[node.args[0]].shape)
            return all(dim % rank for dim in node.args[1:])
        return node.name in _BY_ROW


_BY_ROW = frozenset(f"aten::{name}" for name in "to _to_copy contiguous detach clone alias".split())
