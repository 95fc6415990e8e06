"""Branches: the parts of a residual network that are added to what they were computed from.

In ``y = x + f(x)`` everything that computes for the sum alone is the branch: without it ``y = x``.
A shortcut may itself be computed, by a single weight, as where sizes change; the branch is then
the other side. Of branches around branches only the inner ones count, so that no two share a
parameter. Nothing here looks at values.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from lightning_prune.coupling.graph import Graph, Node, Ref
from lightning_prune.coupling.modes import Recording
from lightning_prune.units.group import Axis, Group, Member, Side

_DIVIDE_LENGTHS_OUT = {"aten::_weight_norm", "aten::_weight_norm_interface"}  # of their first input


@dataclass(frozen=True, eq=False)
class Sum:
    """Where one recorded pass adds a branch to its shortcut.

    Args:
        graph: the recording.
        index: of the sum among its nodes.
        shortcut: which argument of the sum is the shortcut, 0 or 1.
        inside: indices of the nodes that compute for the branch alone.
        computed: whether the shortcut is computed from what the branch reads, too.
    """

    graph: Graph
    index: int
    shortcut: int
    inside: frozenset[int]
    computed: bool

    @property
    def node(self) -> Node:
        """The sum itself."""
        return self.graph.nodes[self.index]

    @property
    def branch(self) -> Ref:
        """What the branch adds."""
        ref: Ref = self.node.args[1 - self.shortcut]
        return ref


@dataclass(frozen=True, eq=False)
class Branch:
    """A residual branch.

    Args:
        name: what the names of its weights have in common.
        parameters: names of the parameters that it alone uses.
        sums: where each recording that runs it adds it, for every call.
        recordings: all of them, also those that do not run it.
    """

    name: str
    parameters: tuple[str, ...]
    sums: tuple[Sum, ...]
    recordings: tuple[Recording, ...] = ()

    @property
    def directions(self) -> frozenset[str]:
        """Names of the parameters whose lengths are divided out: if they are zero, by zero."""
        normed = [
            one.graph[one.graph.nodes[i].inputs[0]].name
            for one in self.sums
            for i in one.inside
            if one.graph.nodes[i].name in _DIVIDE_LENGTHS_OUT
        ]
        return frozenset(name for name in normed if name is not None)

    def group(self, shapes: Mapping[str, torch.Size]) -> Group:
        """Return the branch as one unit, which owns every element of its parameters.

        Args:
            shapes: shape of every parameter, by name.
        """
        directions = self.directions
        members = (_all_of(n, shapes[n], keeps=n in directions) for n in self.parameters)
        return Group(self.name, 1, tuple(members))


def find_branches(recordings: Sequence[Recording]) -> tuple[Branch, ...]:
    """Return the residual branches of a model, in the order of the network.

    Args:
        recordings: of it, those in eval mode first. What is a branch in all of them that run it,
            and is run in eval mode, is one.

    Returns:
        Branches that share no parameter; their names differ.
    """
    graphs = [recording.graph for recording in recordings]
    by_graph = {id(graph): _Uses(graph).branches() for graph in _different(graphs)}
    found = [{b.parameters: b for b in by_graph[id(graph)]} for graph in graphs]
    used = [{value.name for value in graph.values} for graph in graphs]
    names: list[str] = []
    branches = []
    for parameters in dict.fromkeys(parameters for own in found for parameters in own):
        runs = [i for i, names_used in enumerate(used) if not names_used.isdisjoint(parameters)]
        if not recordings[runs[0]].training and all(parameters in found[i] for i in runs):
            branch = found[runs[0]][parameters]
            again = names.count(branch.name)
            names.append(branch.name)
            name = f"{branch.name} ({again + 1})" if again else branch.name
            sums = tuple(added for i in runs for added in found[i][parameters].sums)
            branches.append(replace(branch, name=name, sums=sums, recordings=tuple(recordings)))
    return tuple(branches)


def _different(graphs: Sequence[Graph]) -> list[Graph]:
    return list({id(graph): graph for graph in graphs}.values())


def _all_of(name: str, shape: torch.Size, *, keeps: bool) -> Member:
    """Return all of a parameter as what a unit owns; it keeps its values, or is zeroed with it."""
    size = shape[0] if shape else 1
    side: Side = "shape" if keeps else "out"
    return Member(Axis(name, 0 if shape else -1), side, size, torch.arange(size).unsqueeze(0))


class _Uses:
    """Who computes, and who uses, the values of one recording."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._sources: dict[Ref, list[int]] = defaultdict(list)
        self._uses: dict[Ref, list[int]] = defaultdict(list)
        discarded = graph.discarded()
        for index, node in enumerate(graph):
            for ref in (*node.results, *node.aliases):
                self._sources[ref].append(index)
            for ref in node.inputs:
                # What is thrown away does not count as a use, but of what is thrown away itself: of
                # a step that returns nothing that is all.
                if index not in discarded or discarded.issuperset(self._sources[ref]):
                    self._uses[ref].append(index)
        for ref in graph.outputs:
            self._uses[ref].append(len(graph.nodes))

    def branches(self) -> list[Branch]:
        """Return the innermost branches."""
        found = [added for index in range(len(self._graph.nodes)) for added in self._sums(index)]
        found = self._joined(found)
        sums = [added for added in found if self._own(added.inside, "parameter")]
        plain = [added for added in sums if not added.computed]
        inner = [a for a in plain if not any(b.inside < a.inside for b in plain)]
        taken = frozenset[int]().union(*(added.inside for added in inner))
        inner += [added for added in sums if added.computed and taken.isdisjoint(added.inside)]
        branches: dict[frozenset[int], list[Sum]] = defaultdict(list)
        for added in sorted(inner, key=lambda added: added.index):
            branches[added.inside].append(added)
        return [self._branch(sums) for sums in branches.values()]

    def _joined(self, sums: Sequence[Sum]) -> list[Sum]:
        """Let sums that the same code makes of the same weights, for each call one, go together."""
        calls: dict[Any, list[Sum]] = defaultdict(list)
        for added in sums:
            read = [r for i in sorted(added.inside) for r in self._graph.nodes[i].inputs]
            weights = [ref for ref in read if self._graph[ref].kind == "parameter"]
            calls[added.node.site, *weights[-1:]].append(added)
        found = []
        for same in calls.values():
            inside = same[0].inside
            if len(same) > 1:
                inside = self._inside({(added.branch, added.index) for added in same})
            found += [replace(added, inside=inside) for added in same]
        return found

    def _sums(self, index: int) -> Iterator[Sum]:
        """Return the sum that a node is, if it adds a branch to a shortcut."""
        node = self._graph.nodes[index]
        if not self._is_sum(node):
            return
        inside = [self._inside({(ref, index)}) for ref in node.args[:2]]
        for shortcut in (0, 1):
            branch = 1 - shortcut
            if inside[branch] and self._leads_to(node.args[shortcut], node.args[branch]):
                yield Sum(self._graph, index, shortcut, inside[branch], computed=False)
                return
        for shortcut in (0, 1):
            if self._is_projection(inside[shortcut], inside[1 - shortcut]):
                yield Sum(self._graph, index, shortcut, inside[1 - shortcut], computed=True)
                return

    def _is_sum(self, node: Node) -> bool:
        if node.name != "aten::add" or not all(isinstance(arg, Ref) for arg in node.args[:2]):
            return False
        values = [self._graph[ref] for ref in (*node.args[:2], node.results[0])]
        alike = len({(value.shape, value.dtype) for value in values}) == 1
        return alike and node.argument("alpha", 1) == 1

    def _inside(self, sinks: Set[tuple[Ref, int]]) -> frozenset[int]:
        """Return the nodes that compute what some nodes read, and nothing that others use."""
        inside: set[int] = set()
        waiting = [-s for ref, user in sinks for s in self._sources[ref] if s < user]
        heapq.heapify(waiting)
        while waiting:
            source = -heapq.heappop(waiting)
            node = self._graph.nodes[source]
            if source in inside or not self._serves(source, inside, sinks):
                continue
            inside.add(source)
            for read in node.inputs:
                for earlier in self._sources[read]:
                    if earlier < source:
                        heapq.heappush(waiting, -earlier)
        return frozenset(inside)

    def _serves(self, source: int, inside: set[int], sinks: Set[tuple[Ref, int]]) -> bool:
        """Tell whether what a node computes is only used inside, or as one of ``sinks``."""
        node = self._graph.nodes[source]
        uses = {(ref, use) for ref in (*node.results, *node.aliases) for use in self._uses[ref]}
        later = {use for ref, use in uses if use > source and (ref, use) not in sinks}
        return later <= inside

    @cached_property
    def _ancestors(self) -> dict[Ref, int]:
        """For every value the set, as bits by number, of those that it is computed from, and it."""
        found: dict[Ref, int] = defaultdict(int)
        for node in self._graph:
            read = 0
            for ref in node.inputs:
                read |= found[ref] | 1 << ref.index
            for ref in (*node.results, *node.aliases):
                found[ref] |= read | 1 << ref.index
        return found

    def _leads_to(self, ref: Ref, branch: Ref) -> bool:
        """Tell whether ``branch`` is computed from ``ref``, or from a term of that sum."""
        if self._ancestors[branch] >> ref.index & 1:
            return ref != branch
        sources = [self._graph.nodes[index] for index in self._sources[ref]]
        if len(sources) != 1 or len(self._uses[ref]) != 1 or not self._is_sum(sources[0]):
            return False
        return any(self._leads_to(term, branch) for term in sources[0].args[:2])

    def _is_projection(self, shortcut: frozenset[int], branch: frozenset[int]) -> bool:
        """Tell whether a shortcut is computed, by one weight, from what the branch reads."""
        if not shortcut or len(self._weights(shortcut)) > 1 or len(self._weights(branch)) < 2:
            return False
        read = self._read(shortcut)  # nothing, where it is computed from sizes, as positions are
        return bool(read) and read <= self._read(branch)

    def _read(self, inside: frozenset[int]) -> set[Ref]:
        """Return the values computed elsewhere that some nodes read."""
        refs = {ref for index in inside for ref in self._graph.nodes[index].inputs}
        return {r for r in refs if self._moves(r) and inside.isdisjoint(self._sources[r])}

    def _moves(self, ref: Ref) -> bool:
        return self._graph[ref].kind in {"input", "activation"}

    def _weights(self, inside: frozenset[int]) -> list[Ref]:
        return [ref for ref in self._own(inside, "parameter") if len(self._graph[ref].shape) > 1]

    def _own(self, inside: frozenset[int], kind: str) -> list[Ref]:
        """Return the parameters or buffers that only some nodes use, in the order of their use."""
        nodes = [self._graph.nodes[index] for index in sorted(inside)]
        refs = dict.fromkeys(ref for node in nodes for ref in node.inputs)
        own = [ref for ref in refs if inside.issuperset(self._uses[ref])]
        return [ref for ref in own if self._graph[ref].kind == kind]

    def _branch(self, sums: Sequence[Sum]) -> Branch:
        inside = sums[0].inside
        weights = [str(self._graph[ref].name) for ref in self._weights(inside)]
        parameters = [str(self._graph[ref].name) for ref in self._own(inside, "parameter")]
        name = _common_module(weights or parameters)
        return Branch(name, tuple(parameters), tuple(sums))


def _common_module(names: Sequence[str]) -> str:
    """Return the innermost module that holds all of these parameters; the first's if it is all."""
    parts = [name.split(".")[:-1] for name in names]
    common = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        common.append(column[0])
    return ".".join(common or (parts[0] if parts else []))
