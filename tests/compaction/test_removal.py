"""The largest set of groups whose removal holds is found; the rest is put back."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from support.oracle import half_of_every_group, randomize
from torch import nn

from lightning_prune.compaction.removal import Removal
from lightning_prune.compaction.repair.repair import Broken, Repaired
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import TOLERANCES, Errors
from lightning_prune.coupling import couple
from lightning_prune.errors import VerificationError

X = torch.randn(4, 3)


@pytest.fixture
def model():
    sizes = (3, 8, 8, 8, 8, 2)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return randomize(nn.Sequential(*layers))


def cut(model):
    """Return the layers that have lost rows."""
    return {name for name, layer in model.named_children() if len(layer.weight) == 4}


def checks(wrong=(), broken=None):
    """Checks that fail where one of the layers in ``wrong`` is cut, and note every attempt."""
    attempts = []

    def check(model, tolerances):
        assert tolerances is TOLERANCES
        attempts.append(cut(model))
        if cut(model) & set(wrong):
            raise VerificationError("outputs differ")
        return Errors(1.0, 0.5)

    return SimpleNamespace(
        verification=SimpleNamespace(check=check),
        tolerances=TOLERANCES,
        repair=lambda surgery, plan: Repaired(plan, broken),
        attempts=attempts,
    )


def removal(model):
    coupling = couple(model, X)
    return Removal(model, Surgery(model), coupling, half_of_every_group(coupling.groups))


def test_all_that_holds_goes_in_one_attempt(model):
    one, held = removal(model), checks()
    one.attempt(one.wanted, held)
    assert cut(model) == {"0", "1", "2", "3"}
    assert held.attempts == [{"0", "1", "2", "3"}]
    assert (one.refused, one.errors) == ({}, Errors(1.0, 0.5))


@pytest.mark.parametrize("wrong", [("0",), ("3",), ("1", "2")])
def test_halving_finds_the_groups_at_fault(model, wrong):
    one = removal(model)
    one.attempt(one.wanted, checks(wrong))
    assert cut(model) == {"0", "1", "2", "3"} - set(wrong)
    assert one.refused == dict.fromkeys(wrong, "outputs differ")
    assert [g.removed for g in one.plan.groups] == [0 if n in wrong else 4 for n in "0123"]


def test_where_nothing_holds_the_model_is_as_it_was(model):
    before = {name: p.clone() for name, p in model.named_parameters()}
    one = removal(model)
    one.attempt(one.wanted, checks("0123"))
    assert one.accepted == []
    assert set(one.refused) == set("0123")
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_groups_that_pass_a_broken_operation_are_put_back_without_a_search(model):
    one = removal(model)
    trace = one._coupling.traces.traces[0]
    broken = Broken(trace, trace.graph.nodes[2], "it is broken")  # reads what layer 1 writes
    held = checks(("1",), broken)
    one.attempt(one.wanted, held)
    assert cut(model) == {"0", "2", "3"}
    assert one.refused == {"1": "it is broken"}
    assert len(held.attempts) == 2


def test_a_group_without_dead_units_is_not_wanted(model):
    coupling = couple(model, X)
    dead = [torch.zeros(8, dtype=torch.bool) for _ in coupling.groups]
    dead[2][0] = True
    assert Removal(model, Surgery(model), coupling, dead).wanted == [2]
