"""Findings: what a smaller model was seen to call wrongly, and the changes that make it right.

Sizes in attributes are changed there; what one place in the source needs for all its calls becomes
one correction of that place, or a wide norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

from torch import nn

from lightning_prune.compaction.plan import Attribute, Plan, SizeChange
from lightning_prune.compaction.repair.fixes import Arguments
from lightning_prune.compaction.repair.follow import Followed, Stale
from lightning_prune.compaction.repair.joining import StaleCall, join_calls, join_cuts
from lightning_prune.compaction.rewriting import (
    CallSite,
    Edit,
    edits_of,
    merged_calls,
    passed_attribute,
)
from lightning_prune.coupling.forecast import Trace
from lightning_prune.coupling.graph import Node
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.callees import callees_of
from lightning_prune.runtime.corrections import (
    Unchanged,
    Unseen,
    WidenGroupNorm,
    WidenLayerNorm,
    WidenRMSNorm,
)
from lightning_prune.runtime.norms import PLAIN
from lightning_prune.runtime.swaps import WidenNorm

_OF_WIDTHS = (WidenLayerNorm, WidenRMSNorm, WidenGroupNorm)


@dataclass(frozen=True)
class Broken:
    """Something that cannot be made to fit.

    Args:
        trace: the recording in which it does not.
        node: the operation.
        reason: why not.
    """

    trace: Trace
    node: Node
    reason: str


@dataclass(frozen=True)
class _Found:
    change: Edit | WidenNorm
    trace: Trace
    stale: Stale
    call: StaleCall | None = None

    def seen_from_caller(self, edit: Edit) -> _Found:
        """Return it with the change that it needs seen from what called its method."""
        site = self.stale.node.site
        node = replace(self.stale.node, site=site.from_caller if site is not None else None)
        return replace(self, change=edit, stale=replace(self.stale, node=node))

    def broken(self, reason: str) -> Broken:
        return Broken(self.trace, self.stale.node, f"{reason} ({self.stale.node})")


@dataclass(frozen=True)
class _Right:
    node: Node
    given: Arguments


class Findings:
    """What one round has found stale in a model.

    Args:
        model: the smaller model.
        changed: attributes that were changed for another call already, or serve several sizes.

    Attributes:
        attributes: those whose sizes are stale.
    """

    def __init__(self, model: nn.Module, changed: Set[Attribute]) -> None:
        self.attributes: dict[Attribute, SizeChange] = {}
        self._taking: dict[Attribute, set[Any]] = {}
        self._shared: set[Attribute] = set()
        self._model = model
        self._changed = changed
        self._found: dict[str, dict[Any, list[_Found]]] = {}
        self._right: dict[Any, list[_Right]] = {}
        self._changes: dict[str, list[Edit | WidenNorm]] = {}

    def add(self, trace: Trace, run: Followed) -> Broken | None:
        """Take up what a run has found; tell what cannot be corrected."""
        for node in run.right:
            for seen in _from_callers(node):
                self._right.setdefault(_call_of(seen), []).append(_Right(seen, run.given[node]))
        for stale in run.stale:
            try:
                self._add(trace, stale, run.given.get(stale.node))
            except RewriteError as error:
                return Broken(trace, stale.node, f"{error} ({stale.node})")
        if run.compared is not None and run.compared[0] not in self._changed:
            self.attributes.setdefault(*run.compared)
        return None

    def own_attributes(self) -> dict[Attribute, SizeChange]:
        """Return the stale attributes but for those that serve several sizes at one place."""
        return {
            key: change
            for key, change in self.attributes.items()
            if key not in self._shared and not self._taking.get(key, set()) & self._right.keys()
        }

    def _add(self, trace: Trace, stale: Stale, given: Arguments | None) -> None:
        module = stale.node.site.module if stale.node.site is not None else ""
        owner = self._model.get_submodule(module)
        if type(owner) in PLAIN:
            return  # it knows the width that there was
        found = self._found.setdefault(module, {})
        swap = _swap_for(owner, stale)
        if swap is not None:
            found.setdefault(None, []).append(_Found(swap, trace, stale))
            return
        try:
            site = CallSite.of(edits_of(type(owner))[0], stale.node, callees_of(owner))
            correction = site.fitting(stale.fix.correction)
        except RewriteError:
            name = partial(passed_attribute, stale.node.site)
            if self._take_attributes(module, owner, name, stale):
                return
            raise
        if self._take_attributes(module, owner, site.attribute, stale):
            return
        edit = Edit(site.method, site.path, correction, site.digest)
        found.setdefault((site.method, site.path), []).append(
            _Found(edit, trace, stale, StaleCall(correction, stale.fix.correction, given))
        )

    def _take_attributes(
        self,
        module: str,
        owner: nn.Module,
        attribute: Callable[[int], str | None],
        stale: Stale,
    ) -> bool:
        """Note stale sizes that are attributes of the module; tell whether there are any."""
        found = False
        for index, given, size in stale.fix.sizes:
            name = attribute(index) or ""
            value = vars(owner).get(name)
            key = Attribute(module, name)
            if key not in self._changed and type(value) is int and value == given:
                change = SizeChange(given, size)
                if self.attributes.setdefault(key, change) != change:
                    self._shared.add(key)
                self._taking.setdefault(key, set()).add(_call_of(stale.node))
                found = True
        return found

    def settle(self) -> Broken | None:
        """Make one change of all that one place in the source needs; tell where that cannot be."""
        for module, found in self._found.items():
            for several in found.values():
                try:
                    changes = self._changes_of(module, several)
                except RewriteError as error:
                    return several[0].broken(str(error))
                self._changes.setdefault(module, []).extend(changes)
        return None

    def _changes_of(self, module: str, several: Sequence[_Found]) -> list[Edit | WidenNorm]:
        """Return one change of a place, or one for each of the calls that lead to it.

        A method that others of its module call may need another change for each of these calls.

        Raises:
            RewriteError: if nothing tells the calls apart.
        """
        try:
            return [self._one_change(several)]
        except RewriteError:
            by_place: dict[Any, list[_Found]] = {}
            for one in several:
                edit = self._from_caller(module, one.change, one.stale.node)
                by_place.setdefault(edit.place, []).append(one.seen_from_caller(edit))
            calls = dict.fromkeys(_call_of(one.stale.node) for one in several)
            right = [one.node for call in calls for one in self._right.get(call, ())]
            edits = [self._from_caller(module, several[0].change, node) for node in right]
            left = {edit.place: edit for edit in edits if edit.place not in by_place}
            corrected = (c for one in by_place.values() for c in self._changes_of(module, one))
            unchanged = (replace(edit, correction=Unchanged()) for edit in left.values())
            return [*corrected, *unchanged, *_from_elsewhere(several[0].change)]

    def _from_caller(self, module: str, change: Edit | WidenNorm, node: Node) -> Edit:
        """Return a change at the place of an operation, as seen from what called its method.

        Raises:
            RewriteError: if no other method of the module did, or nothing can be corrected there.
        """
        site = node.site.from_caller if node.site is not None else None
        if site is None or not isinstance(change, Edit):
            raise RewriteError("one call serves several sizes")
        owner = self._model.get_submodule(module)
        node = replace(node, site=site)
        place = CallSite.of(edits_of(type(owner))[0], node, callees_of(owner))
        return replace(change, method=place.method, path=place.path, digest=place.digest)

    def _one_change(self, several: Sequence[_Found]) -> Edit | WidenNorm:
        by_call: dict[Any, list[_Found]] = {}
        for one in several:
            by_call.setdefault(_call_of(one.stale.node), []).append(one)
        first = several[0].change
        if isinstance(first, WidenNorm):
            if any(one.change != first for one in several) or by_call.keys() & self._right.keys():
                raise RewriteError("one norm serves several widths")
            return first
        corrections = [
            join_calls(
                [one.call for one in found if one.call is not None],
                [one.given for one in self._right.get(call, ())],
            )
            for call, found in by_call.items()
        ]
        return replace(first, correction=reduce(join_cuts, corrections))

    def parts(self) -> Iterator[tuple[str, Plan]]:
        """Return what to change in each module."""
        for name, changes in self._changes.items():
            swap = next((change for change in changes if isinstance(change, WidenNorm)), None)
            edits = tuple(change for change in changes if isinstance(change, Edit))
            swaps = {name: swap} if swap is not None else {}
            yield name, Plan(swaps=swaps, edits={name: edits} if edits else {})

    def broken_in(self, module: str, reason: str) -> Broken:
        """Return the first operation of a module whose class cannot be changed."""
        return next(iter(self._found[module].values()))[0].broken(reason)


def _swap_for(owner: nn.Module, stale: Stale) -> WidenNorm | None:
    """Return the wide norm that a norm of torch becomes, None if it is anything else."""
    correction = stale.fix.correction
    if not isinstance(correction, _OF_WIDTHS):
        return None
    swap = WidenNorm(correction.full_width)
    return swap if swap.fits(owner) else None


def _from_elsewhere(change: Edit | WidenNorm) -> Iterator[Edit]:
    """Yield what the place needs where its method is called from elsewhere."""
    if isinstance(change, Edit):
        yield replace(change, correction=Unseen())


def _from_callers(node: Node) -> Iterator[Node]:
    """Yield an operation, also as seen from the methods that called one another."""
    yield node
    while node.site is not None and node.site.caller is not None:
        node = replace(node, site=node.site.from_caller)
        yield node


def _call_of(node: Node) -> Any:
    """Return what two operations have in common that are the same call in the source."""
    dim = node.argument("dim", 0) if node.name == "aten::slice" else None
    site = node.site
    place = None if site is None else (site.module, site.method, *merged_calls(site.calls))
    return place, node.name, dim
