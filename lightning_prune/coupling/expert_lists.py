"""Lists of experts: modules of one form, side by side, among which data choose.

In ``y = sum over e of g[e](x) f[e](x)`` every ``f[e]`` is a module of its own, of the same
parameters as the others. None reads what another has computed, and each is given rows that data
picked, or is multiplied by what was computed from the input. What becomes of one whose parameters
are zero follows from the coupling of its hidden units. Nothing here looks at values.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from lightning_prune.coupling.graph import Graph, Node, Ref
from lightning_prune.coupling.modes import Recording
from lightning_prune.units.group import Axis, Group, Member

_PICKING = frozenset(
    f"aten::{name}" for name in "index index_select masked_select gather _unsafe_index".split()
)
_PASSING = frozenset(
    f"aten::{name}"
    for name in "to _to_copy view reshape unsqueeze squeeze expand clone contiguous".split()
)


@dataclass(frozen=True)
class ExpertList:
    """Modules of one form in a list.

    Args:
        name: of the list.
        experts: names of the parameters of each, by its name.
    """

    name: str
    experts: Mapping[str, tuple[str, ...]]

    def group(self, shapes: Mapping[str, torch.Size]) -> Group:
        """Return the experts as units, each of which owns all of its parameters.

        Args:
            shapes: of every parameter, by name.
        """
        members = []
        for number, names in enumerate(self.experts.values()):
            for name in names:
                shape, owner = shapes[name], (number, len(self.experts))
                axis, size = Axis(name, 0 if shape else -1), shape[0] if shape else 1
                members.append(Member(axis, "out", size, owner=owner))
        return Group(self.name, len(self.experts), tuple(members))


def find_expert_lists(
    recordings: Sequence[Recording], shapes: Mapping[str, torch.Size]
) -> tuple[ExpertList, ...]:
    """Return the lists of experts of a model, in the order of the network.

    Args:
        recordings: of it.
        shapes: of every parameter, by name.

    Returns:
        Lists that share no parameter.
    """
    found: list[ExpertList] = []
    for one in _candidates(shapes):
        if any(one.name.startswith(f"{outer.name}.") for outer in found):
            continue
        uses = [_Use(recording.graph, one) for recording in recordings]
        ran = [use for use in uses if use.ran]
        if ran and all(use.as_experts for use in ran):
            found.append(one)
    return tuple(found)


def _candidates(shapes: Mapping[str, torch.Size]) -> Iterator[ExpertList]:
    """Yield the lists of modules that have the same parameters, outer lists first."""
    lists: dict[str, dict[str, dict[str, torch.Size]]] = defaultdict(lambda: defaultdict(dict))
    for name, shape in shapes.items():
        for number in re.finditer(r"(?<=\.)\d+(?=\.)", name):
            entry, rest = name[: number.end()], name[number.end() :]
            lists[name[: number.start() - 1]][entry][rest] = shape
    for name in sorted(lists, key=len):
        first, *others = lists[name].values()
        if others and all(other == first for other in others):
            experts = {entry: tuple(entry + it for it in own) for entry, own in lists[name].items()}
            yield ExpertList(name, experts)


class _Use:
    """How one recording uses a list of modules.

    Args:
        graph: the recording.
        modules: the list.

    Attributes:
        ran: names of the modules that ran.
        as_experts: whether they ran side by side, and what they gave was chosen by data.
    """

    def __init__(self, graph: Graph, modules: ExpertList) -> None:
        self.ran: set[str] = set()
        self._graph = graph
        self._list = modules
        self._owners = {name: one for one, own in modules.experts.items() for name in own}
        self._data, self._picked = set(graph.inputs), set[Ref]()
        self._sources: dict[Ref, frozenset[str]] = {}
        self._results: dict[Ref, str] = {}
        self._chosen: set[str] = set()
        apart = all(map(self._note, graph))
        returned = any(ref in self._results for ref in graph.outputs)
        self.as_experts = apart and self.ran <= self._chosen and not returned

    def _note(self, node: Node) -> bool:
        """Take up a node; tell whether the modules are apart from each other still."""
        expert = self._running(node)
        sources = frozenset[str]().union(*(self._sources.get(r, ()) for r in node.inputs))
        used = {self._owners.get(str(self._graph[ref].name)) for ref in node.inputs} - {None}
        if expert is None:
            self._chosen |= self._gated(node)
        else:
            self.ran.add(expert)
            sources |= {expert}
            self._chosen |= {expert for ref in node.inputs if ref in self._picked}
        self._carry(node, expert, sources)
        return used <= {expert} and (expert is None or len(sources) == 1)

    def _carry(self, node: Node, expert: str | None, sources: frozenset[str]) -> None:
        """Note what is known of the results of a node."""
        if not self._data.isdisjoint(node.inputs):
            self._data.update((*node.results, *node.aliases))
        passes = node.name in _PASSING
        if node.name in _PICKING or (passes and not self._picked.isdisjoint(node.inputs)):
            self._picked.update(node.results)
        origin = next((self._results[r] for r in node.inputs if r in self._results), None)
        whose = expert if expert is not None else origin if passes else None
        for ref in (*node.results, *node.aliases):
            self._sources[ref] = sources | self._sources.get(ref, frozenset())
            if whose is not None:
                self._results[ref] = whose

    def _running(self, node: Node) -> str | None:
        """Return the module of the list that runs, None if none does."""
        name = self._list.name
        if not node.module.startswith(f"{name}."):
            return None
        found = f"{name}.{node.module[len(name) + 1 :].partition('.')[0]}"
        return found if found in self._list.experts else None

    def _gated(self, node: Node) -> set[str]:
        """Return the modules whose results a node multiplies by what depends on the input."""
        others = [ref for ref in node.inputs if ref not in self._results]
        if node.name != "aten::mul" or self._data.isdisjoint(others):
            return set()
        return {self._results[ref] for ref in node.inputs if ref in self._results}
