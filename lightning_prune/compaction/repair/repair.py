"""Repair: bring sizes in attributes and in source up to date with a smaller model's tensors.

A stale size that a call takes from an attribute of its module is changed there; any other is
corrected at that call, in a rewritten class. Nothing is guessed: which calls are stale, and what
they need, follows from the labels. What cannot be repaired is told with the operation, so that only
the groups that pass there need to stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from lightning_prune.compaction.repair.follow import Followed, Stale, follow
from lightning_prune.compaction.rewriting import (
    CallSite,
    Correction,
    Edit,
    edits_of,
    joined,
    rewritten,
)
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.coupling.forecast import Forecast, Trace, Traces
from lightning_prune.coupling.graph import Node
from lightning_prune.errors import RewriteError
from lightning_prune.modules.twin import twin
from lightning_prune.units.group import Axis

_OF_NUMBERS = {"pin", "tensor_of"}


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


class Repair:
    """Makes the calls of a model fit its tensors, after surgery.

    Made before surgery, it learns which numbers differ from run to run for other reasons, and
    leaves them alone.

    Args:
        model: the model in full size.
        traces: recordings of it.
    """

    def __init__(self, model: nn.Module, traces: Traces) -> None:
        self._model = model
        self._traces = traces
        self._full = twin(model)  # surgery leaves it in full size
        self._before: dict[Trace, Followed] = {}

    def __call__(self, surgery: Surgery, kept: Mapping[Axis, Tensor]) -> Broken | None:
        """Make every call fit.

        Args:
            surgery: what has cut the model; it writes down every change, so that it can be undone.
            kept: positions that stay along each axis that shrinks.

        Returns:
            None if everything fits; else the first operation that does not.
        """
        forecasts = self._traces.forecasts(kept)
        changed: set[tuple[str, str]] = set()
        while True:  # an attribute changes once, so this ends
            found = _Findings(self._model, changed)
            runs: dict[Trace, Followed] = {}
            for trace, forecast in forecasts:
                runs[trace] = self._follow(trace, forecast)
                broken = found.add(trace, runs[trace])
                if broken is not None:
                    return broken
            if not found.attributes:
                return found.rewrite(surgery) or self._stopped(runs)
            for (module, name), size in found.attributes.items():
                surgery.set(self._model.get_submodule(module), name, size)
                changed.add((module, name))

    def _follow(self, trace: Trace, forecast: Forecast) -> Followed:
        """Follow the smaller model, but leave alone what differs between runs of the full one."""
        run = follow(self._model, trace, forecast)
        if any(stale.fix.correction.kind in _OF_NUMBERS for stale in run.stale):
            varying = {stale.node for stale in self._again(trace).stale}
            stale = tuple(one for one in run.stale if one.node not in varying)
            run = replace(run, stale=stale)
        if run.stopped is not None and trace.training and self._again(trace).stopped is not None:
            run = replace(run, stopped=None)
        return run

    def _again(self, trace: Trace) -> Followed:
        """Return what comes of following the full model."""
        if trace not in self._before:
            forecasts = dict(self._traces.forecasts({}))
            self._before[trace] = follow(self._full, trace, forecasts[trace])
        return self._before[trace]

    def _stopped(self, runs: Mapping[Trace, Followed]) -> Broken | None:
        for trace, run in runs.items():
            if run.stopped is not None:
                return Broken(trace, run.stopped, run.reason)
        return None


@dataclass(frozen=True)
class _Found:
    edit: Edit
    trace: Trace
    stale: Stale


class _Findings:
    """What one round has found stale in a model.

    Args:
        model: the smaller model.
        changed: modules and their attributes that were changed for another call already.
    """

    def __init__(self, model: nn.Module, changed: Set[tuple[str, str]]) -> None:
        self.attributes: dict[tuple[str, str], int] = {}
        self._model = model
        self._changed = changed
        self._edits: dict[str, dict[Any, _Found]] = {}
        self._right: set[Any] = set()

    def add(self, trace: Trace, run: Followed) -> Broken | None:
        """Take up what a run has found; tell what cannot be corrected."""
        self._right |= {_call_of(node) for node in run.right}
        for stale in run.stale:
            try:
                self._add(trace, stale)
            except RewriteError as error:
                return Broken(trace, stale.node, f"{error} ({stale.node})")
        return None

    def _add(self, trace: Trace, stale: Stale) -> None:
        module = stale.node.site.module if stale.node.site is not None else ""
        owner = self._model.get_submodule(module)
        site = CallSite.of(edits_of(type(owner))[0], stale.node)
        correction = site.fitting(stale.fix.correction)
        if self._take_attributes(module, owner, site, stale):
            return
        edit = Edit(site.method, site.path, correction, site.digest)
        edits = self._edits.setdefault(module, {})
        key = (site.method, site.path)
        known = edits[key].edit.correction if key in edits else None
        if known is not None and known != correction:
            edit = replace(edit, correction=_both(known, correction))
        edits[key] = _Found(edit, trace, stale)

    def _take_attributes(self, module: str, owner: nn.Module, site: CallSite, stale: Stale) -> bool:
        """Note stale sizes that are attributes of the module; tell whether there are any."""
        found = False
        for index, given, size in stale.fix.sizes:
            name = site.attribute(index) or ""
            value = vars(owner).get(name)
            free = (module, name) not in self._changed
            if free and type(value) is int and value == given:
                found |= self.attributes.setdefault((module, name), size) == size
        return found

    def rewrite(self, surgery: Surgery) -> Broken | None:
        """Change the classes of the modules."""
        for module, found in self._edits.items():
            owner = self._model.get_submodule(module)
            kind, before = edits_of(type(owner))
            try:
                for one in found.values():
                    if _call_of(one.stale.node) in self._right:
                        raise RewriteError("one call serves several sizes")
                edits = joined(before, [one.edit for one in found.values()])
                surgery.set_class(owner, rewritten(kind, edits))
            except RewriteError as error:
                return Broken(one.trace, one.stale.node, f"{error} ({one.stale.node})")
        return None


def _call_of(node: Node) -> Any:
    """Return what two operations have in common that are the same call in the source."""
    dim = node.argument("dim", 0) if node.name == "aten::slice" else None
    return node.site, node.name, dim


def _both(known: Correction, correction: Correction) -> Correction:
    """Join two corrections of one call, as of an index that cuts two dimensions."""
    if known.kind == correction.kind == "recut":
        cuts = {cut[:2]: cut for cut in (*known.value, *correction.value)}
        if set(cuts.values()) == {*known.value, *correction.value}:
            return Correction("recut", tuple(cuts.values()))
    raise RewriteError("one call serves several sizes")
