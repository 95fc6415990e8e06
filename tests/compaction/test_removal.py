"""The largest set of groups whose removal holds is found; the rest is put back."""

import copy
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from support.oracle import half_of_every_group, randomize, zeroed
from torch import nn

from lightning_prune.compaction.plan import Plan, plan_removal
from lightning_prune.compaction.removal import Checks, CounterexampleError, Removal
from lightning_prune.compaction.repair import Broken, Repair, Repaired
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import TOLERANCES, Errors, Verification
from lightning_prune.coupling import couple
from lightning_prune.errors import VerificationError
from lightning_prune.modules.inputs import ExampleInputs

X = torch.randn(4, 3)


@pytest.fixture
def model():
    sizes = (3, 8, 8, 8, 8, 2)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return randomize(nn.Sequential(*layers))


def cut(model):
    """Return the layers that have lost rows."""
    return {name for name, layer in model.named_children() if len(layer.weight) == 4}


def checks(wrong=()):
    """Checks that fail where one of the layers in ``wrong`` is cut, and note every attempt."""
    attempts = []

    def check(model, repaired):
        attempts.append(cut(model))
        if cut(model) & set(wrong):
            raise VerificationError("outputs differ")
        return Errors(1.0, 0.5)

    return SimpleNamespace(
        check=check,
        repair=lambda surgery, plan: Repaired(plan),
        attempts=attempts,
        raise_counterexample=lambda reason: None,
    )


@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize("runs", [True, False])
def test_what_was_seen_to_run_is_not_run_again_where_nothing_is_compared(model, compares, runs):
    held = []
    verification = SimpleNamespace(compares=compares, check=lambda *args: held.append(args))
    checks = Checks(model, verification, couple(model, X).traces)
    checks.check(model, Repaired(Plan(), runs=runs))
    assert held == ([] if runs and not compares else [(model, TOLERANCES)])


def test_a_repair_tells_whether_all_was_right(model):
    for module, right in ((model, True), (Flat(), False)):
        coupling = couple(module, X)
        surgery = Surgery(module)
        dead = half_of_every_group(coupling.groups)
        plan = plan_removal(coupling.groups, dead)
        repair = Repair(module, coupling.traces)
        surgery.apply(plan)
        assert repair(surgery, plan).runs == right


class Flat(nn.Module):
    """Writes a size into its code, which is to be corrected."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.first(x).view(-1, 2, 4).flatten(1))


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
    one, held = removal(model), checks()
    trace = one._coupling.traces.traces[0]
    broken = Broken(trace, trace.graph.nodes[2], "it is broken")  # reads what layer 1 writes
    held.repair = lambda surgery, plan: Repaired(plan, broken if plan.groups[1].removed else None)
    one.attempt(one.wanted, held)
    assert cut(model) == {"0", "2", "3"}
    assert one.refused == {"1": "it is broken"}
    assert held.attempts == [{"0", "2", "3"}]  # what is broken is not even compared


def test_a_broken_operation_that_no_group_passes_is_searched_for(model):
    one, held = removal(model), checks()
    trace = one._coupling.traces.traces[0]
    broken = Broken(trace, trace.graph.nodes[0], "it is broken")  # reads the input alone
    one._passing = lambda broken, candidates: []
    held.repair = lambda surgery, plan: Repaired(plan, broken if plan.groups[2].removed else None)
    one.attempt(one.wanted, held)
    assert cut(model) == {"0", "1", "3"}
    assert one.refused == {"2": "it is broken"}


def test_a_group_without_dead_units_is_not_wanted(model):
    coupling = couple(model, X)
    dead = [torch.zeros(8, dtype=torch.bool) for _ in coupling.groups]
    dead[2][0] = True
    assert Removal(model, Surgery(model), coupling, dead).wanted == [2]


class InTraining(nn.Module):
    """In train mode alone, it computes something else once its second layer is cut."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 8)
        self.last = nn.Linear(8, 2)
        self.register_buffer("full", torch.ones(2))
        self.register_buffer("cut", torch.zeros(2))

    def forward(self, x):
        x = self.last(self.second(self.first(x)))
        shift = self.full if len(self.second.weight) == 8 else self.cut
        return x + shift if self.training else x


def test_what_is_wrong_in_train_mode_alone_is_put_back():
    model = randomize(InTraining()).eval()
    coupling = couple(model, X)
    removed = half_of_every_group(coupling.groups)
    model = zeroed(model, coupling.groups, removed, ["out in"] * len(removed))
    coupling = couple(model, X)
    verification = Verification(copy.deepcopy(model), [ExampleInputs.of(X)])
    removal = Removal(model, Surgery(model), coupling, removed)
    removal.attempt(removal.wanted, Checks(model, verification, coupling.traces))
    assert (len(model.first.weight), len(model.second.weight)) == (4, 8)
    assert list(removal.refused) == ["second"]
    assert "train mode" in removal.refused["second"]


def test_inputs_that_refute_a_removal_are_told_once_if_a_recording_of_them_may_help(model):
    coupling, inputs = couple(model, X), ExampleInputs((X,))

    def refuse(model, tolerances):
        raise VerificationError("outputs differ")

    verification = SimpleNamespace(compares=True, check=refuse, counterexample=inputs)
    surgery, dead = Surgery(model), half_of_every_group(coupling.groups)
    one = Removal(model, surgery, coupling, dead)
    with pytest.raises(CounterexampleError, match="outputs differ") as found:
        one.attempt(one.wanted, Checks(model, verification, coupling.traces, TOLERANCES, []))
    assert found.value.inputs is inputs
    surgery.undo()
    for seen in ([inputs], None):
        one = Removal(model, surgery, coupling, dead)
        one.attempt(one.wanted, Checks(model, verification, coupling.traces, TOLERANCES, seen))
        assert set(one.refused) == set("0123")
