"""Repair: bring sizes in attributes and in source up to date with a smaller model's tensors.

A stale size that a call takes from an attribute of its module is changed there; any other is
corrected at that call, in a rewritten class. Nothing is guessed: which calls are stale, and what
they need, follows from the labels. What cannot be repaired is told with the operation, so that only
the groups that pass there need to stay.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from lightning_prune.compaction.corrections import Correction
from lightning_prune.compaction.follow import Stale, follow
from lightning_prune.compaction.rewrite import Edit, edit_at, expression_at, rewritten
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.coupling.forecast import Forecast, Trace
from lightning_prune.coupling.graph import Node
from lightning_prune.errors import RewriteError

_ROUNDS = 10

_Pair = tuple[int, int]
"""A place among the sizes of a call, and the size that belongs there."""


@dataclass(frozen=True)
class Broken:
    """An operation that cannot be made to fit.

    Args:
        trace: the recording to which it belongs.
        node: the operation.
        reason: why not.
    """

    trace: Trace
    node: Node
    reason: str


def repair(
    model: nn.Module, surgery: Surgery, forecasts: list[tuple[Trace, Forecast]]
) -> Broken | None:
    """Make every call of ``model`` fit its tensors.

    Args:
        model: the smaller model.
        surgery: writes down every change, so that it can be undone.
        forecasts: the recordings of the full model, and what stays of them.

    Returns:
        None if everything fits; else the first operation that does not.
    """
    repairs = _Repairs(model, surgery)
    for _ in range(_ROUNDS):
        changed = False
        stopped: Broken | None = None
        for trace, forecast in forecasts:
            followed = follow(model, trace, forecast)
            for stale in followed.stale:
                try:
                    changed |= repairs.add(stale)
                except RewriteError as error:
                    return Broken(trace, stale.node, f"{error} ({stale.node})")
            if followed.stopped is not None and not trace.training:
                stopped = stopped or Broken(trace, followed.stopped, followed.reason)
        if not changed:
            return stopped
        repairs.apply()
    return stopped or Broken(trace, stale.node, f"its sizes do not settle ({stale.node})")


class _Repairs:
    """What has been found stale in one model so far."""

    def __init__(self, model: nn.Module, surgery: Surgery) -> None:
        self._model = model
        self._surgery = surgery
        self._kinds: dict[str, type[nn.Module]] = {}
        self._attributes: dict[tuple[str, str], Any] = {}
        self._edits: dict[str, dict[Any, Edit]] = {}

    def add(self, stale: Stale) -> bool:
        """Take up a stale call; tell whether that was new."""
        site = stale.node.site
        if site is None:
            raise RewriteError("called from code without source")
        kind = self._kinds.setdefault(site.module, type(self._model.get_submodule(site.module)))
        edit = edit_at(kind, site, stale.mended.correction)
        if edit.correction.kind == "resize":
            rest = self._take_attributes(site.module, kind, edit)
            if not rest:
                return True
            edit = replace(edit, correction=Correction("resize", _inferred(rest, stale)))
        return self._take_edit(site.module, edit)

    def _take_attributes(self, module: str, kind: type[nn.Module], edit: Edit) -> list[_Pair]:
        """Change the sizes that are attributes of the module; return the others."""
        function, call = expression_at(kind, edit)
        instance = function.__code__.co_varnames[0] if function.__code__.co_argcount else ""
        owner = self._model.get_submodule(module)
        rest = []
        for place, size in edit.correction.value:
            name = _attribute(call, place, instance)
            old = getattr(owner, name, None) if name is not None else None
            known = self._attributes.get((module, name or ""))
            if type(old) is not int or len(edit.path) > 1 or known not in {None, size}:
                rest.append((place, size))
            elif known is None:
                self._attributes[module, name or ""] = size
            else:
                rest.append((place, size))
        return rest

    def _take_edit(self, module: str, edit: Edit) -> bool:
        edits = self._edits.setdefault(module, {})
        key = (edit.method, edit.path)
        known = edits.get(key)
        if known is None:
            edits[key] = edit
            return True
        if known == edit:
            return False
        edits[key] = replace(known, correction=_joined(known.correction, edit.correction))
        return edits[key] != known

    def apply(self) -> None:
        """Change the model."""
        for (module, name), size in self._attributes.items():
            self._surgery.set(self._model.get_submodule(module), name, size)
        for module, edits in self._edits.items():
            kind: type = rewritten(self._kinds[module], tuple(edits.values()))  # type: ignore[arg-type]
            self._surgery.set_class(self._model.get_submodule(module), kind)


def _inferred(pairs: list[_Pair], stale: Stale) -> tuple[_Pair, ...]:
    """Leave the last size to torch where it can tell: that holds for inputs of every size."""
    return (*pairs[:-1], (pairs[-1][0], -1)) if stale.mended.infers else tuple(pairs)


def _joined(first: Correction, second: Correction) -> Correction:
    """Join two corrections of one call, found in several rounds or passes."""
    if first.kind == second.kind == "resize":
        pairs = dict(first.value) | dict(second.value)
        if all(pairs[place] == size for place, size in first.value):
            return Correction("resize", tuple(pairs.items()))
    raise RewriteError("one call serves several sizes")


def _attribute(call: ast.AST, place: int, instance: str) -> str | None:
    """Return the attribute of ``instance`` that a call passes as its size number ``place``."""
    if not isinstance(call, ast.Call) or any(isinstance(a, ast.Starred) for a in call.args):
        return None
    sizes: list[ast.expr] = call.args
    if sizes and isinstance(sizes[-1], (ast.Tuple, ast.List)):
        sizes = sizes[-1].elts
    elif len(sizes) > 1 and place >= len(sizes):
        return None
    node = sizes[place] if place < len(sizes) else None
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr if node.value.id == instance else None
    return None
