"""Plans as JSON, and back: every part is checked for its form before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from lightning_prune.compaction.plan import Attribute, Cut, Plan, SizeChange
from lightning_prune.compaction.rewriting import Edit
from lightning_prune.coupling.graph import Position
from lightning_prune.runtime.corrections import correction_from_json
from lightning_prune.runtime.corrections.base import are_sizes, is_size
from lightning_prune.runtime.swaps import swap_from_json
from lightning_prune.units.group import Axis


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data. Values and groups are left out: tensors hold the former.

    Args:
        plan: what became of a model.
    """
    return {
        "axes": [
            {"tensor": axis.tensor, "dim": axis.dim, "size": cut.size, "kept": cut.kept}
            for axis, cut in plan.axes.items()
        ],
        "attributes": [
            {**attribute._asdict(), **asdict(change)}
            for attribute, change in plan.attributes.items()
        ],
        "swaps": [{"module": name, "swap": swap.to_json()} for name, swap in plan.swaps.items()],
        "edits": [
            {
                "module": name,
                "method": edit.method,
                "path": edit.path,
                "correction": edit.correction.to_json(),
                "digest": edit.digest,
            }
            for name, edits in plan.edits.items()
            for edit in edits
        ],
        "frozen": plan.frozen,
        "methods": plan.methods,
    }


def plan_from_json(data: Any) -> Plan:
    """Return the plan that plain data, such as JSON gives, stands for.

    Args:
        data: what `plan_to_json` returned.

    Raises:
        ValueError: if any part of it is not of the form that it must have.
    """
    found = _checked(data, "plan", "axes attributes swaps edits frozen methods")
    axes = dict(map(_axis, _items(found["axes"], "axes", "tensor dim size kept")))
    changes = _items(found["attributes"], "attributes", "module name before after")
    swaps = _items(found["swaps"], "swaps", "module swap")
    edits: dict[str, tuple[Edit, ...]] = {}
    for one in _items(found["edits"], "edits", "module method path correction digest"):
        name = _text(one["module"])
        edits[name] = (*edits.get(name, ()), _edit(one))
    plan = Plan(
        axes,
        dict(map(_attribute, changes)),
        {_text(one["module"]): swap_from_json(one["swap"]) for one in swaps},
        edits,
        tuple(_text(name) for name in _listed(found["frozen"], "frozen")),
        tuple(_text(name) for name in _listed(found["methods"], "methods")),
    )
    _require_once(plan, found)
    return plan


def _require_once(plan: Plan, found: Mapping[str, Any]) -> None:
    """Require that nothing is said twice, for then one of the two would be lost."""
    calls = [(name, e.method, e.path) for name, edits in plan.edits.items() for e in edits]
    for part, names in (
        ("axes", plan.axes),
        ("attributes", plan.attributes),
        ("swaps", plan.swaps),
        ("edits", set(calls)),
        ("frozen", set(plan.frozen)),
        ("methods", set(plan.methods)),
    ):
        if len(names) != len(found[part]):
            raise _misformed(part, "parts that differ", "one of them twice")


def _axis(one: Mapping[str, Any]) -> tuple[Axis, Cut]:
    kept = tuple(_listed(one["kept"], "kept"))
    size, dim = one["size"], one["dim"]
    ascending = are_sizes(kept) and all(a < b for a, b in pairwise(kept))
    if not ascending or not is_size(size) or (kept and kept[-1] >= size):
        raise _misformed("kept", "ascending positions below `size`", one)
    if not is_size(dim):
        raise _misformed("dim", "a dimension", dim)
    return Axis(_text(one["tensor"]), dim), Cut(kept, size)


def _attribute(one: Mapping[str, Any]) -> tuple[Attribute, SizeChange]:
    before, after = (_size(one[key]) for key in ("before", "after"))
    return Attribute(_text(one["module"]), _text(one["name"])), SizeChange(before, after)


def _size(value: Any) -> int | tuple[int, ...]:
    if isinstance(value, list) and are_sizes(tuple(value)):
        return tuple(value)
    if not is_size(value):
        raise _misformed("attributes", "sizes", value)
    return int(value)


def _edit(one: Mapping[str, Any]) -> Edit:
    path = _listed(one["path"], "path")
    if not all(isinstance(step, list) and are_sizes(tuple(step), 4) for step in path):
        raise _misformed("path", "positions of four numbers each", path)
    return Edit(
        _text(one["method"]),
        tuple(Position(*step) for step in path),
        correction_from_json(one["correction"]),
        _text(one["digest"]),
    )


def _items(data: Any, name: str, keys: str) -> list[Mapping[str, Any]]:
    return [_checked(one, name, keys) for one in _listed(data, name)]


def _checked(data: Any, name: str, keys: str) -> Mapping[str, Any]:
    if not isinstance(data, dict) or data.keys() != set(keys.split()):
        raise _misformed(name, f"made of {keys}", data)
    return data


def _listed(data: Any, name: str) -> Iterable[Any]:
    if not isinstance(data, list):
        raise _misformed(name, "a list", data)
    return data


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise _misformed("name", "a string", data)
    return data


def _misformed(name: str, what: str, data: Any) -> ValueError:
    shown = repr(data)
    return ValueError(
        f"Expected `{name}` in the plan of the file to be {what}, but got "
        f"{shown if len(shown) < 100 else shown[:97] + '...'}. Write the file with `save_compact`."
    )
