"""Plan damage: edited plans, and plans that would do what no plan may."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from typing import Any

from file_fuzzing.container import Container
from file_fuzzing.damage import Change
from file_fuzzing.subjects import Sized
from torch import nn

from lightning_prune.compaction.rewriting.call_site import digest
from lightning_prune.compaction.rewriting.source import method_of, position_of

_DEEP: Any = None
for _ in range(200):
    _DEEP = [_DEEP]

_JUNK = (True, "x", {"a": 1}, 2**70, -(2**70), _DEEP, "../x", "__class__", "é" * 50, 1e400)
"""What is nowhere right in a plan."""

_CORRECTIONS: tuple[dict[str, Any], ...] = (
    {"kind": "resize", "factors": [[0, 1, 2]]},
    {"kind": "resplit", "parts": [1, 2]},
    {"kind": "recut", "cuts": [[0, 1, 0, 1]]},
    {"kind": "renarrow", "start": 0, "length": 1},
    {"kind": "pin", "numerator": 2, "denominator": 1},
    {"kind": "pin_arguments", "pins": [[2, 1, "args", 0]]},
    {"kind": "tensor_of", "numerator": 2, "denominator": 1},
    {"kind": "rescale_mean", "share": 0.5},
    {"kind": "scale_attention", "scale": 0.5},
    {"kind": "widen_layer_norm", "full_width": 9},
    {"kind": "widen_rms_norm", "full_width": 9},
    {"kind": "keep_term", "index": 0, "copied": False},
    {"kind": "give_back", "form": ["tensor"]},
)


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in nested data, as its holder and its key."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in list(items):
        yield data, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def _junk(dice: random.Random, file: Container) -> None:
    """Put something of another type at any place."""
    plan = file.plan
    holder, key = dice.choice([p for p in _places(plan) if not _may_be_anything(*p)])
    holder[key] = dice.choice([one for one in _JUNK if not _is_right(holder, key, one)])
    file.set_plan(plan)


def _may_be_anything(holder: Any, key: Any) -> bool:
    """Tell whether the name at this place does not matter, as that of an argument that is given."""
    return isinstance(holder, list) and len(holder) == 4 and key == 2 and isinstance(holder[2], str)


def _is_right(holder: Any, key: Any, junk: Any) -> bool:
    return isinstance(holder[key], bool) and junk is True


def _number(dice: random.Random, file: Container) -> None:
    """Change any number."""
    plan = file.plan
    numbers = [(h, k) for h, k in _places(plan) if type(h[k]) in {int, float}]
    if not numbers:
        return _junk(dice, file)
    holder, key = dice.choice(numbers)
    holder[key] += dice.choice([1, -1, 7, 0.5])
    return file.set_plan(plan)


def _lose(dice: random.Random, file: Container) -> None:
    """Take out any part."""
    plan = file.plan
    holder, key = dice.choice(list(_places(plan)))
    del holder[key]
    file.set_plan(plan)


def _lose_key(dice: random.Random, file: Container) -> None:
    """Take out a value that has a name."""
    plan = file.plan
    holder, key = dice.choice([(h, k) for h, k in _places(plan) if isinstance(h, dict)])
    del holder[key]
    file.set_plan(plan)


def _double(dice: random.Random, file: Container) -> None:
    """Say something twice."""
    plan = file.plan
    parts = [part for part in plan.values() if part]
    part = dice.choice(parts)
    part.append(dice.choice(part))
    file.set_plan(plan)


def _positions(dice: random.Random, file: Container) -> None:
    """Keep as many positions, but others: they do not matter where all tensors are stored."""
    plan = file.plan
    axis = dice.choice([axis for axis in plan["axes"] if axis["kept"]] or plan["axes"])
    axis["kept"] = sorted(dice.sample(range(axis["size"]), len(axis["kept"])))
    file.set_plan(plan)


def _attribute(dice: random.Random, file: Container) -> None:
    """Change what is no size of a module of any name."""
    changes = [
        ("act", "relu", "__import__('os').system('true') or relu"),
        ("depth", 3, 2),
        ("steps", 3, 2),
        ("training", False, True),
        ("stride", [1, 1], [0, 0]),
        ("num_heads", 2, 1),
        ("tail", [4, 8], [4, 4]),
        ("__class__", 8, 4),
        ("_parameters", 8, 4),
        ("forward", 8, 4),
        ("eps", 1e-5, 0),
        ("num_features", 8, 8),
    ]
    modules = ["", "first", "norm", "last", "attention", "each", "gone", "inner", "embedding"]
    name, before, after = dice.choice(changes)
    plan = file.plan
    plan["attributes"].append(
        {"module": dice.choice(modules), "name": name, "before": before, "after": after}
    )
    file.set_plan(plan)


def _swap(dice: random.Random, file: Container) -> None:
    """Swap the class of a layer that is not of torch's kind or width."""
    swaps = [{"kind": "widen_norm", "full_width": 9}, {"kind": "size_by_tensors"}, {"kind": "eval"}]
    modules = ["", "first", "last", "embedding", "inner", "gone"]
    plan = file.plan
    plan["swaps"].append({"module": dice.choice(modules), "swap": dice.choice(swaps)})
    file.set_plan(plan)


def _axis(dice: random.Random, file: Container) -> None:
    """Cut what a plan does not cut, or what does not exist."""
    tensors = ["last.bias", "head.weight", "gone", "", "first.weight"]
    size = dice.choice([3, 8, 10])
    kept = dice.choice([[], [0], list(range(size)), [1, 0], [-1], [size], [0, 0]])
    plan = file.plan
    plan["axes"].append(
        {"tensor": dice.choice(tensors), "dim": dice.choice([3, 9, -1]), "size": size, "kept": kept}
    )
    file.set_plan(plan)


def _edit_of_a_call(dice: random.Random, file: Container) -> None:
    """Correct any call of any method by something that does not fit it."""
    kind, method = dice.choice(
        [(Sized, "revision"), (Sized, "forward"), (nn.Linear, "forward"), (nn.Module, "train")]
    )
    source = method_of(kind, method)
    calls = [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
    call = dice.choice(calls) if calls else None
    path = []
    if call is not None and dice.random() < 0.9:
        position = position_of(call)
        lines = source.first_line
        path = [position._replace(line=position.line - lines, end_line=position.end_line - lines)]
    # What fits a call of ``forward`` makes another honest plan.
    kinds = [c for c in _CORRECTIONS if method != "forward" or c["kind"] == "renarrow"]
    _append_edit(file, dice.choice(["", "first", "last"]), method, path, dice.choice(kinds), source)


def _edit_of_a_method(dice: random.Random, file: Container) -> None:
    """Replace a whole method, of a module that keeps its parameters."""
    kind, method = dice.choice(
        [(Sized, "revision"), (nn.Linear, "forward"), (nn.Linear, "reset_parameters")]
    )
    module = dice.choice(["first", "last", ""])
    _append_edit(file, module, method, [], dice.choice(_CORRECTIONS), method_of(kind, method))


def _append_edit(
    file: Container, module: str, method: str, path: Any, correction: Any, source: Any
) -> None:
    edit = {"module": module, "method": method, "path": path, "correction": correction}
    plan = file.plan
    plan["edits"].append({**edit, "digest": digest([source])})
    file.set_plan(plan)


PLANS_ALWAYS_SEEN: tuple[Change, ...] = (
    _junk,
    _junk,
    _lose_key,
    _double,
    _positions,
    _attribute,
    _swap,
    _axis,
    _edit_of_a_call,
    _edit_of_a_method,
)
"""Plans that do no harm whatever their checksum is."""

PLANS_SEEN_BY_CHECKSUM: tuple[Change, ...] = (*PLANS_ALWAYS_SEEN, _number, _lose)
"""Plans that at least a checksum tells."""
