import torch
from torch import nn

from lightning_prune.criteria import Magnitude
from lightning_prune.pruning.base_pruner import BasePruner
from lightning_prune.pruning.prunable import Prunable
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.pruning.shrinkage import Shrinkage
from lightning_prune.regularizations import GroupLasso, GrowingL2
from lightning_prune.units.group import Axis, Group, Member


def make():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    members = (
        Member(Axis("0.weight", 0), "out", 4),
        Member(Axis("0.bias", 0), "out", 4),
        Member(Axis("2.weight", 1), "in", 4),
    )
    recipe = Recipe(0.0, Magnitude(), of="units")
    pruner = BasePruner(model, recipe, Prunable([Group("0", 4, members)]))
    return model, pruner


def everything(model):
    return {id(p) for p in model.parameters()}


def rows(model):
    return torch.cat([model[0].weight, model[0].bias[:, None], model[2].weight.T], 1).detach()


def test_only_what_goes_next_shrinks_and_it_does_on_both_sides():
    model, pruner = make()
    shrinkage = Shrinkage(GrowingL2(strength=1.0))
    shrinkage.choose(pruner, 0.5)
    before, norms = rows(model).clone(), rows(model).abs().sum(1)
    shrinkage.apply(pruner, dict.fromkeys(everything(model), 0.1))
    shares = rows(model) / before
    going = norms.argsort()[:2]
    staying = norms.argsort()[2:]
    assert torch.allclose(shares[going], torch.full_like(shares[going], 1 / 1.1))
    assert torch.equal(shares[staying], torch.ones_like(shares[staying]))
    pruner.update(0.5)
    assert set((~pruner.masks.kept[0]).nonzero().flatten().tolist()) == set(going.tolist())


def test_units_shrink_by_the_rate_of_their_own_layer():
    model, pruner = make()
    shrinkage = Shrinkage(GrowingL2(strength=1.0))
    shrinkage.choose(pruner, 0.5)
    before, norms = rows(model).clone(), rows(model).abs().sum(1)
    body = dict.fromkeys(everything(model[0]), 0.5)
    shrinkage.apply(pruner, dict.fromkeys(everything(model[2]), 0.1) | body)
    shares = (rows(model) / before)[norms.argsort()[:2]]
    assert torch.allclose(shares, torch.full_like(shares, 1 / 1.5))


def test_the_lasso_ends_at_zero():
    model, pruner = make()
    shrinkage = Shrinkage(GroupLasso(strength=1.0, refresh=1000))
    shrinkage.choose(pruner, 0.25)
    for _ in range(100):
        shrinkage.apply(pruner, dict.fromkeys(everything(model), 0.05))
    assert int((rows(model) == 0).all(1).sum()) == 1


def test_the_lasso_takes_as_much_as_the_size_of_a_unit_says():
    model, pruner = make()
    shrinkage = Shrinkage(GroupLasso(strength=1.0, refresh=1000))
    shrinkage.choose(pruner, 0.25)
    before = rows(model).norm(dim=1)
    shrinkage.apply(pruner, dict.fromkeys(everything(model), 0.01))
    lost = (before - rows(model).norm(dim=1)).sort().values
    expected = torch.tensor([0.0, 0.0, 0.0, 0.01 * 9**0.5])  # five weights, a bias, three readers
    assert torch.allclose(lost, expected, atol=1e-6)


def test_only_weights_that_were_stepped():
    model, pruner = make()
    shrinkage = Shrinkage(GrowingL2(strength=1.0))
    shrinkage.choose(pruner, 0.5)
    before = [p.detach().clone() for p in model.parameters()]
    shrinkage.apply(pruner, dict.fromkeys({id(model[2].weight)}, 0.1))
    same = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert same == [True, True, False, True]


def test_the_state_comes_back():
    model, pruner = make()
    shrinkage, other = Shrinkage(GrowingL2()), Shrinkage(GrowingL2())
    other.load_state_dict(shrinkage.state_dict())
    shrinkage.choose(pruner, 0.5)
    shrinkage.apply(pruner, dict.fromkeys(everything(model), 0.1))
    other.load_state_dict(shrinkage.state_dict())
    assert other.state_dict()["steps"] == 1
    twin, twin_pruner = make()
    twin.load_state_dict(model.state_dict())
    shrinkage.apply(pruner, dict.fromkeys(everything(model), 0.1))
    other.apply(twin_pruner, dict.fromkeys(everything(twin), 0.1))
    assert torch.equal(rows(model), rows(twin))


def test_nothing_to_aim_at_changes_nothing():
    model, pruner = make()
    shrinkage = Shrinkage(GrowingL2(strength=1.0))
    before = rows(model).clone()
    shrinkage.choose(pruner, 0.0)
    shrinkage.apply(pruner, dict.fromkeys(everything(model), 0.1))
    assert torch.equal(rows(model), before)


def test_steps_of_other_optimizers_do_not_count():
    model, pruner = make()
    shrinkage = Shrinkage(GrowingL2(strength=1.0))
    shrinkage.choose(pruner, 0.5)
    others = {id(p) for p in nn.Linear(2, 2).parameters()}
    before = rows(model).clone()
    shrinkage.apply(pruner, dict.fromkeys(others, 0.1))
    assert torch.equal(rows(model), before)
    assert shrinkage.state_dict()["steps"] == 0
    shrinkage.apply(pruner, dict.fromkeys(everything(model), 0.1))
    assert shrinkage.state_dict()["steps"] == 1


def two_optimizers(model):
    return [{id(model[0].weight)}, everything(model) - {id(model[0].weight)}]


def test_a_step_of_two_optimizers_is_one():
    one, pruner = make()
    other, other_pruner = make()
    shrinkage, other_shrinkage = (Shrinkage(GrowingL2(every=2, refresh=50)) for _ in range(2))
    shrinkage.choose(pruner, 0.5)
    other_shrinkage.choose(other_pruner, 0.5)
    for step in range(1, 8):
        shrinkage.apply(pruner, dict.fromkeys(everything(one), 0.1))
        for stepped in two_optimizers(other):
            other_shrinkage.apply(other_pruner, dict.fromkeys(stepped, 0.1))
        assert shrinkage.state_dict()["steps"] == other_shrinkage.state_dict()["steps"] == step
    assert torch.equal(rows(one), rows(other))


def test_the_lasso_takes_whole_units_for_its_norms_whoever_steps():
    model, pruner = make()
    shrinkage = Shrinkage(GroupLasso(strength=1.0))
    shrinkage.choose(pruner, 0.25)
    before, norms = rows(model).clone(), rows(model).norm(dim=1)
    first, second = two_optimizers(model)
    shrinkage.apply(pruner, dict.fromkeys(first, 0.01))
    share = 1 - 0.01 * 9**0.5 / norms.min()
    unit = norms.argmin()
    assert torch.allclose(rows(model)[unit, :5], before[unit, :5] * share)
    shrinkage.apply(pruner, dict.fromkeys(second, 0.01))
    # The unit is a little smaller by then, and loses the same length, shared by all of it.
    assert torch.allclose(rows(model)[unit, 5:], before[unit, 5:] * share, rtol=0.1)


def test_a_run_resumed_between_two_optimizers_counts_as_one_that_was_not():
    model, pruner = make()
    shrinkage = Shrinkage(GrowingL2())
    shrinkage.choose(pruner, 0.5)
    first, second = two_optimizers(model)
    shrinkage.apply(pruner, dict.fromkeys(first, 0.1))
    resumed = Shrinkage(GrowingL2())
    resumed.load_state_dict(shrinkage.state_dict())
    resumed.apply(pruner, dict.fromkeys(second, 0.1))
    assert resumed.state_dict()["steps"] == 1
    resumed.apply(pruner, dict.fromkeys(second, 0.1))
    assert resumed.state_dict()["steps"] == 2
