"""A plan travels through JSON; what is not of its form is refused."""

import json
from typing import Any

import pytest

from lightning_prune.compaction.plan import Attribute, Cut, Plan, SizeChange
from lightning_prune.compaction.plan_json import plan_from_json, plan_to_json
from lightning_prune.compaction.rewriting import Edit
from lightning_prune.coupling.graph import Position
from lightning_prune.runtime.corrections import Pin
from lightning_prune.runtime.swaps import SizeByTensors, WidenNorm
from lightning_prune.units.group import Axis, GroupCount

PLAN = Plan(
    {Axis("a.weight", 1): Cut((0, 2), 3), Axis("b", 0): Cut((), 2)},
    {Attribute("", "width"): SizeChange(4, 3), Attribute("a", "shape"): SizeChange((4, 8), (3, 8))},
    {"norm": WidenNorm(4), "attention": SizeByTensors()},
    {"": (Edit("forward", (Position(1, 1, 8, 20),), Pin(2, 1), "abc"),)},
    ("scale",),
    ("encode",),
)


def data() -> Any:
    return json.loads(json.dumps(plan_to_json(PLAN)))


def test_it_travels():
    assert plan_from_json(data()) == PLAN
    assert plan_from_json(json.loads(json.dumps(plan_to_json(Plan())))) == Plan()


def test_groups_stay_behind():
    counted = Plan(groups=(GroupCount("a", 4, 1),))
    assert plan_from_json(json.loads(json.dumps(plan_to_json(counted)))) == Plan()


WRONG: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "no plan": ((), [], "`plan`"),
    "axes that are no list": (("axes",), {}, "`axes`"),
    "an axis that is no object": (("axes", 0), [1, 2], "`axes`"),
    "another key": (("axes", 0, "more"), 1, "`axes`"),
    "a negative dimension": (("axes", 0, "dim"), -1, "`dim`"),
    "a dimension that is true": (("axes", 0, "dim"), True, "`dim`"),
    "a tensor that is a number": (("axes", 0, "tensor"), 3, "`name`"),
    "positions out of order": (("axes", 0, "kept"), [2, 0], "`kept`"),
    "positions twice": (("axes", 0, "kept"), [0, 0], "`kept`"),
    "a position beyond the end": (("axes", 0, "kept"), [0, 3], "`kept`"),
    "a position that is no whole number": (("axes", 0, "kept"), [0.5], "`kept`"),
    "an attribute that is text": (("attributes", 0, "after"), "x", "`attributes`"),
    "an attribute that is a bool": (("attributes", 0, "after"), False, "`attributes`"),
    "an attribute of a list of lists": (("attributes", 1, "after"), [[3]], "`attributes`"),
    "a swap of another kind": (("swaps", 0, "swap"), {"kind": "eval"}, "a swap"),
    "a path of another kind": (("edits", 0, "path"), [[1, 2, 3]], "`path`"),
    "a correction of another kind": (("edits", 0, "correction"), {"kind": "x"}, "a correction"),
    "a method that is a list": (("edits", 0, "method"), [], "`name`"),
    "a name that is a number": (("frozen", 0), 3, "`name`"),
    "a name that is twice": (("frozen",), ["a", "a"], "`frozen`"),
}


@pytest.mark.parametrize(("path", "value", "match"), WRONG.values(), ids=WRONG)
def test_what_is_not_of_its_form_is_refused(path, value, match):
    found: Any = {"": data()}
    holder, key = found, ""
    for step in path:
        holder, key = holder[key], step
    holder[key] = value
    with pytest.raises(ValueError, match=f"Expected {match}"):
        plan_from_json(found[""])


@pytest.mark.parametrize("part", ["axes", "attributes", "swaps", "edits", "frozen", "methods"])
def test_nothing_is_said_twice(part):
    found = data()
    found[part].append(found[part][0])
    with pytest.raises(ValueError, match=f"Expected `{part}` in the plan of the file to be parts"):
        plan_from_json(found)
