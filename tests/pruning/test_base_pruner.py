import copy
import io

import pytest
import torch
from torch import nn

from lightning_prune.allocations import Global, Uniform
from lightning_prune.criteria import Gradient, Magnitude, Random, Taylor
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Channel, Weight
from lightning_prune.pruning.base_pruner import BasePruner
from lightning_prune.pruning.prunable import Prunable, find_prunable
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.units.group import Axis, Group, Member
from lightning_prune.units.masks import find_dead

CRITERIA = [Gradient(), Taylor(), Magnitude(), Random()]


def make_model():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def channels():
    def out(name, size):
        return Member(Axis(name, 0), "out", size)

    return [
        Group(
            "0",
            8,
            (
                *(out(n, 8) for n in ("0.weight", "0.bias", "1.weight", "1.bias")),
                Member(Axis("3.weight", 1), "in", 8),
            ),
        ),
        Group("3", 6, (out("3.weight", 6), out("3.bias", 6), Member(Axis("5.weight", 1), "in", 6))),
    ]


def weights(model):
    return Weight().groups(dict(model.named_parameters()), [])


def make_pruner(model, groups=None, criterion=None, sparsity=0.0, **options):
    groups = channels() if groups is None else groups
    known = {key: options.pop(key) for key in ("prices", "left_alone") if key in options}
    recipe = Recipe(sparsity, criterion or Magnitude(), **options)
    return BasePruner(model, recipe, Prunable(groups, **known))


def step(model, seed=0, optimizer=None):
    generator = torch.Generator().manual_seed(seed)
    model.zero_grad()
    model(torch.randn(16, 5, generator=generator)).square().mean().backward()
    if optimizer is not None:
        optimizer.step()


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
@pytest.mark.parametrize("allocation", [Global(), Uniform()], ids=str)
@pytest.mark.parametrize("granularity", ["channels", "weights"])
def test_asked_is_obtained_within_one_unit(criterion, allocation, granularity):
    model = make_model()
    groups = channels() if granularity == "channels" else weights(model)
    pruner = make_pruner(model, groups, criterion, allocation=allocation, of="units")
    step(model)
    pruner.accumulate()
    units = sum(g.units for g in groups)
    report = pruner.update(0.4)
    assert abs(report.sparsity - 0.4) <= 0.5 / units
    removed = sum(int(d.sum()) for d in find_dead(groups, dict(model.named_parameters())))
    assert removed / units == pytest.approx(report.sparsity)


@pytest.mark.parametrize("sparsity", [0.2, 0.5])
def test_parameters_are_counted_as_compaction_leaves_them(sparsity):
    model = make_model()
    report = make_pruner(model).update(sparsity)
    first, second = (g.kept for g in report.groups)
    full = 8 * (5 + 3) + 6 * 8 + 6 + 3 * 6
    left = first * (5 + 3) + second * first + second + 3 * second
    assert report.sparsity == pytest.approx((full - left) / full)
    assert abs(report.sparsity - sparsity) < (5 + 3 + 6) / full


def test_magnitude_removes_the_smallest_weights():
    model = make_model()
    groups = weights(model)
    before = torch.cat([dict(model.named_parameters())[g.name].flatten() for g in groups]).abs()
    make_pruner(model, groups, Magnitude()).update(0.3)
    after = torch.cat([dict(model.named_parameters())[g.name].flatten() for g in groups])
    n = round(0.3 * before.numel())
    assert set(torch.nonzero(after == 0).flatten().tolist()) == set(before.argsort()[:n].tolist())


@pytest.mark.parametrize(("reduce", "first"), [("sum", 1), ("max", 0)])
def test_scores_of_a_unit_become_one_as_the_granularity_says(reduce, first):
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0, 2.0, 2.0], [3.0, 0.1, 0.1]]))
        model[1].weight.fill_(0.1)
    parts = (Member(Axis("0.weight", 0), "out", 2), Member(Axis("1.weight", 1), "in", 2))
    pruner = make_pruner(model, [Group("0", 2, parts)], granularity=Channel(reduce=reduce))
    pruner.update(0.5)
    assert pruner.masks.kept[0].tolist() == [first != 0, first != 1]


def test_the_gradient_criterion_removes_the_lowest_average():
    model = make_model()
    pruner = make_pruner(model, weights(model), Gradient())
    expected = torch.zeros(5 * 8 + 8 * 6 + 6 * 3)
    for seed in range(3):
        step(model, seed)
        pruner.accumulate()
        gradients = torch.cat([model[i].weight.grad.flatten().abs() for i in (0, 3, 5)])
        expected += gradients / gradients.sum() / 3
    pruner.update(0.25)
    gone = torch.cat([model[i].weight.flatten() for i in (0, 3, 5)]) == 0
    assert expected[gone].max() <= expected[~gone].min()
    assert int(gone.sum()) == round(0.25 * expected.numel())


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
def test_masks_only_ever_grow(criterion):
    model = make_model()
    pruner = make_pruner(model, criterion=criterion, of="units")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    previous = pruner.masks.kept
    for seed, sparsity in enumerate([0.2, 0.4, 0.4, 0.3, 0.6]):
        step(model, seed, optimizer)
        pruner.masks.apply()
        step(model, seed)
        pruner.accumulate()
        pruner.update(sparsity)
        assert all((old | ~new).all() for old, new in zip(previous, pruner.masks.kept, strict=True))
        previous = pruner.masks.kept
    assert pruner.sparsity == pytest.approx(8 / 14)


def test_gradual_random_pruning_is_nested_in_one_shot():
    gradual, at_once = make_model(), make_model()
    pruner = make_pruner(gradual, weights(gradual), Random(3))
    for sparsity in (0.1, 0.3, 0.5):
        pruner.update(sparsity)
    one_shot = make_pruner(at_once, weights(at_once), Random(3))
    one_shot.update(0.5)
    assert pruner.masks.fingerprint() == one_shot.masks.fingerprint()
    assert pruner.masks.fingerprint() != make_pruner(gradual, weights(gradual)).masks.fingerprint()


def test_what_another_tool_erased_goes_first():
    model = make_model()
    with torch.no_grad():
        for parameter in (model[0].weight, model[0].bias, model[1].weight, model[1].bias):
            parameter[3] = 0.0
        model[3].weight[:, 3] = 0.0
    pruner = make_pruner(model, criterion=Random(), of="units")
    pruner.update(1 / 14)
    assert torch.nonzero(~pruner.masks.kept[0]).flatten().tolist() == [3]


def test_a_layer_that_starts_from_zero_is_not_dead():
    model = make_model()
    nn.init.zeros_(model[5].weight)
    report = make_pruner(model, of="units", allocation=Uniform()).update(0.5)
    assert [g.kept for g in report.groups] == [4, 3]


def test_every_group_keeps_a_unit():
    model = make_model()
    report = make_pruner(model, of="units").update(12 / 14)
    assert [g.kept for g in report.groups] == [1, 1]
    with pytest.raises(TargetError, match=r"at most 0\.8571"):
        make_pruner(make_model(), of="units").update(0.9)


def test_gradients_and_state_are_masked():
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    step(model, 0, optimizer)
    pruner = make_pruner(model)
    pruner.update(0.5)
    step(model)
    pruner.masks.apply_to_gradients()
    pruner.masks.apply_to_optimizer(optimizer)
    for name, mask in pruner.masks.items():
        parameter = model.get_parameter(name)
        assert (parameter.grad[~mask] == 0).all()
        assert (optimizer.state[parameter]["exp_avg"][~mask] == 0).all()


def test_an_update_without_finite_gradients_is_refused():
    model = make_model()
    pruner = make_pruner(model, criterion=Taylor())
    assert not pruner.ready
    with pytest.raises(TargetError, match="Expected finite gradients"):
        pruner.update(0.5)
    step(model)
    model[0].weight.grad[0, 0] = torch.inf
    pruner.accumulate()
    assert not pruner.ready
    assert pruner.update(0.0).sparsity == 0.0


def test_an_update_closes_the_window():
    model = make_model()
    pruner = make_pruner(model, criterion=Gradient())
    step(model)
    pruner.accumulate()
    assert pruner.ready
    pruner.update(0.2)
    assert not pruner.ready


def test_an_update_closes_the_window_of_growth_as_well():
    model = make_model()
    pruner = make_pruner(
        model, weights(model), Magnitude(), granularity=Weight(), regrows=True, of="units"
    )
    step(model)
    pruner.accumulate()
    assert pruner.scorers.state_dict()[-1] is not None
    pruner.update(0.5)
    assert pruner.scorers.state_dict()[-1] is None


@pytest.mark.parametrize("layer", [0, 5])
@pytest.mark.parametrize("granularity", [Channel(), Weight()], ids=repr)
def test_diverged_weights_are_refused(layer, granularity):
    model = make_model()
    with torch.no_grad():
        model[layer].weight[0, 0] = torch.nan
    groups = channels() if granularity == Channel() else weights(model)
    with pytest.raises(TargetError, match="Expected the weights to be finite"):
        make_pruner(model, groups, granularity=granularity).update(0.5)


def test_released_units_start_from_small_values():
    model = make_model()
    pruner = make_pruner(model)
    pruner.update(0.5)
    gone = ~pruner.masks["0.weight"]
    largest = model[0].weight.abs().max()
    pruner.masks.release()
    assert pruner.sparsity == 0.0
    assert pruner.masks == {}
    assert model[0].weight.all()
    assert model[0].weight[gone].abs().max() <= 0.11 * largest


def test_an_optimizer_forgets_what_it_has_kept_of_units_that_are_released():
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    step(model, 0, optimizer)
    pruner = make_pruner(model)
    pruner.update(0.5)
    gone = ~pruner.masks["0.weight"]
    pruner.follow(0.0, monotone=False, optimizers=[optimizer])
    average = optimizer.state[model[0].weight]["exp_avg"]
    assert not average[gone].any()
    assert average[~gone].any()


def test_regrowth_exchanges_at_constant_sparsity():
    model = make_model()
    pruner = make_pruner(
        model, weights(model), Magnitude(), granularity=Weight(), regrows=True, of="units"
    )
    pruner.update(0.5)
    before = torch.cat(pruner.masks.kept)
    step(model)
    pruner.accumulate()
    gradients = [model[i].weight.grad.flatten().abs() for i in (0, 3, 5)]
    report = pruner.update(0.5, share=0.2)
    after = torch.cat(pruner.masks.kept)
    assert report.sparsity == pytest.approx(0.5, abs=0.01)
    grown = [
        int((new & ~old).sum())
        for new, old in zip(
            pruner.masks.kept, before.split([k.numel() for k in pruner.masks.kept]), strict=True
        )
    ]
    assert sum(grown) == int((before & ~after).sum()) > 0
    # What grew had the largest gradients of what was gone, layer by layer.
    pieces = before.split([k.numel() for k in pruner.masks.kept])
    for old, new, gradient in zip(pieces, pruner.masks.kept, gradients, strict=True):
        grew, stayed = new & ~old, ~new & ~old
        if grew.any() and stayed.any():
            assert gradient[grew].min() >= gradient[stayed].max()


def test_only_what_gets_a_gradient_regrows():
    with pytest.raises(ValueError, match=r"can grow again, but got Channel"):
        make_pruner(make_model(), regrows=True)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 50])
def test_a_sparsity_out_of_range_is_refused(sparsity):
    with pytest.raises(ValueError, match="Expected `sparsity` to be a fraction"):
        make_pruner(make_model()).update(sparsity)


def test_nothing_to_prune_is_refused_with_reasons():
    with pytest.raises(TargetError, match=r"no group \(head: `head` is excluded\)"):
        make_pruner(
            make_model(),
            [],
            criterion=Magnitude(),
            allocation=Global(),
            left_alone={"head": "`head` is excluded"},
        )


def reloaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_resumed_is_uninterrupted():
    whole, resumed = make_model(), make_model()
    pruner, first = (make_pruner(m, weights(m), Gradient()) for m in (whole, resumed))
    for one, model in ((pruner, whole), (first, resumed)):
        for seed in range(2):
            step(model, seed)
            one.accumulate()
        one.update(0.3)
        step(model, 2)
        one.accumulate()
    second = make_pruner(resumed, weights(resumed), Gradient())
    with torch.no_grad():
        resumed[0].weight.masked_fill_(~first.masks["0.weight"], 9.0)
    second.load_state_dict(reloaded(first.state_dict()))
    for one, model in ((pruner, whole), (second, resumed)):
        step(model, 3)
        one.accumulate()
        one.update(0.5)
    assert second.sparsity == pruner.sparsity
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_state_is_an_eighth_of_a_byte_per_unit():
    model = make_model()
    state = make_pruner(model, weights(model)).state_dict()
    assert [k.numel() for k in state["kept"]] == [5 * 8 // 8, 8 * 6 // 8, -(-6 * 3 // 8)]
    assert state["scores"] == [None]


def test_a_copy_is_masked_by_name():
    model = make_model()
    pruner = make_pruner(model, weights(model), criterion=Magnitude())
    pruner.update(0.5)
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        torch.nn.init.ones_(parameter)
    pruner.masks.apply_to_copy(copied)
    for name, mask in pruner.masks.items():
        assert torch.equal(copied.get_parameter(name).bool(), mask)


def test_a_wider_pruner_goes_on_where_a_narrower_was():
    model = make_model()
    narrow = make_pruner(model, weights(model)[:2], criterion=Gradient())
    for parameter in model.parameters():
        parameter.grad = torch.rand_like(parameter)
    narrow.accumulate()
    narrow.update(0.25)
    narrow.accumulate()
    wide = make_pruner(model, weights(model), criterion=Gradient())
    wide.adopt(narrow)
    assert [k.tolist() for k in wide.masks.kept[:2]] == [k.tolist() for k in narrow.masks.kept]
    assert wide.masks.kept[2].all()
    assert torch.equal(wide.state_dict()["scores"][0]["steps"], torch.tensor([1.0, 1.0, 0.0]))


def test_binds_only_its_own_model_in_its_own_shapes():
    model = make_model()
    pruner = make_pruner(model)
    assert pruner.masks.bind(model)
    assert not pruner.masks.bind(make_model())
    model[0].weight.data = model[0].weight.data[:4]
    assert not pruner.masks.bind(model)


def test_of_macs_weighs_elements():
    model = make_model()
    prices = {"0.weight": 1.0, "3.weight": 0.0, "5.weight": 0.0}
    report = make_pruner(model, of="macs", prices=prices, allocation=Uniform()).update(0.5)
    assert report.groups[0].kept == 4
    assert report.sparsity == 0.5


def test_a_removed_unit_stays_removed_where_all_of_its_group_was_erased_since():
    model = make_model()
    with torch.no_grad():
        for member in channels()[0].members:  # the last unit, which ties would protect
            parameter = model.get_parameter(member.axis.tensor)
            parameter.select(member.axis.dim, 7).mul_(1e-3)
    pruner = make_pruner(model, of="units")
    pruner.update(1 / 14)
    assert pruner.masks.kept[0].tolist() == [True] * 7 + [False]
    with torch.no_grad():
        for member in channels()[0].members:
            model.get_parameter(member.axis.tensor).zero_()
    before = pruner.masks.kept
    pruner.update(0.6)
    for old, new in zip(before, pruner.masks.kept, strict=True):
        assert not (new & ~old).any()


@pytest.mark.parametrize("updates", [1, 3, 10, 30])
def test_many_updates_share_the_sparsity_as_one_does(updates):
    model = nn.Sequential(
        nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
    )
    with torch.no_grad():  # the units of the first layer are alike, those of the second are not
        for parameter in model.parameters():
            parameter.fill_(0.01)
        model[2].weight.copy_(torch.linspace(0.5, 1.5, 64)[:, None].expand(64, 64))
    recipe = Recipe(0.5, Magnitude(), of="units")
    pruner = BasePruner(model, recipe, find_prunable(recipe, model, torch.randn(2, 8)))
    for update in range(1, updates + 1):
        pruner.update(0.5 * update / updates)
    alike, various = (int(kept.sum()) for kept in pruner.masks.kept)
    assert alike + various == 64
    assert various >= 20  # an average of what is left alone would leave 1 after thirty updates
