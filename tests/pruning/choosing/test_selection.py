import pytest
import torch
from torch import nn

from lightning_prune.pruning.choosing.selection import select
from lightning_prune.units.group import Axis, Group, Member


def group(*names):
    return Group(names[0], 4, tuple(Member(Axis(f"{n}.weight", 0), "out", 4) for n in names))


GROUPS = [group("stem"), group("body.0", "body.1"), group("head")]
WEIGHTS = {
    f"{n}.weight": nn.Parameter(torch.ones(4, 4)) for n in ("stem", "body.0", "body.1", "head")
}


@pytest.mark.parametrize(
    ("include", "exclude", "chosen"),
    [
        pytest.param(None, [], ["stem", "body.0", "head"], id="everything"),
        pytest.param(["body.1"], [], ["body.0"], id="any writer includes"),
        pytest.param(None, ["body.1"], ["stem", "head"], id="any writer excludes"),
        pytest.param(["body"], [], ["body.0"], id="a module means what is inside"),
        pytest.param(["*"], ["head", "stem"], ["body.0"], id="exclude wins"),
        pytest.param([], [], [], id="nothing included"),
    ],
)
def test_patterns_choose_by_writers(include, exclude, chosen):
    selection = select(GROUPS, WEIGHTS, include=include, exclude=exclude)
    assert [g.name for g in selection.groups] == chosen
    assert set(selection.left_alone) == {"stem", "body.0", "head"} - set(chosen)


def test_reasons():
    weights = WEIGHTS | {"stem.weight": nn.Parameter(torch.ones(4, 4), requires_grad=False)}
    selection = select(GROUPS, weights, include=["stem", "head"], exclude=["head"])
    assert selection.left_alone == {
        "stem": "`stem.weight` is frozen",
        "body.0": "no writer is included",
        "head": "`head` is excluded",
    }


def test_patterns_speak_of_the_uncompiled_model():
    compiled = group("net._orig_mod.conv")
    weights = {"net._orig_mod.conv.weight": nn.Parameter(torch.ones(4, 4))}
    assert select([compiled], weights, include=["net.conv"]).groups == (compiled,)


def test_a_frozen_reader_does_not_protect_its_writers():
    reader = Member(Axis("head.weight", 1), "in", 4)
    coupled = Group("stem", 4, (*group("stem").members, reader))
    weights = WEIGHTS | {"head.weight": nn.Parameter(torch.ones(4, 4), requires_grad=False)}
    assert select([coupled], weights).groups == (coupled,)
