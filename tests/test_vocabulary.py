"""Every word of the vocabulary composes with the others: asked is obtained on five models."""

import math

import pytest
import torch
from support import tiny_zoo
from torch import nn

from lightning_prune import allocations, criteria, granularities
from lightning_prune.allocations import Global, PerLayer, Uniform
from lightning_prune.compaction import compact
from lightning_prune.criteria import Magnitude, SynFlow, Taylor
from lightning_prune.errors import TargetError
from lightning_prune.granularities import NM, Block, Channel, Weight
from lightning_prune.pruning import BasePruner, Recipe, find_prunable
from lightning_prune.units.masks import find_erased

MODELS = ["mlp", "plain_cnn", "identity_residual", "inverted_residual", "dense"]
CRITERIA = [
    *(
        getattr(criteria, name)()
        for name in criteria.__all__
        if name not in {"Criterion", "SynFlow"}
    ),
    Taylor(squared=True),
    SynFlow(iterations=5),
]
ALLOCATIONS = [
    getattr(allocations, name)()
    for name in allocations.__all__
    if name not in {"Allocation", "PerLayer"}
] + [PerLayer({"*": 0.5}), Uniform(max_sparsity=0.6)]
UNITS_ONLY = {"GeometricMedian", "ActivationRate", "BatchNormScale", "BrainSurgeon"}
# Batch norms and ungrouped readers are not everywhere; that is said by name.
UNSCORED = {("BatchNormScale", m) for m in ("mlp", "plain_cnn", "inverted_residual")}


def build(name):
    torch.manual_seed(0)
    example = tiny_zoo.ZOO[name]
    model = example.build().eval()
    return model, tuple(torch.randn(shape) for shape in example.shapes)


def pruner_of(model, inputs, criterion, granularity, allocation, sparsity, **options):
    recipe = Recipe(sparsity, criterion, granularity, allocation, "units", None, ())
    pruner = BasePruner(model, recipe, find_prunable(recipe, model, inputs))
    pruner.scorer.evidence.start(only_training=False)
    for _ in range(2):
        model.zero_grad()
        model(*inputs).square().sum().backward()
        pruner.accumulate()
    pruner.scorer.evidence.stop()
    return pruner


def assert_obtained(pruner, sparsity, step=1):
    report = pruner.update(sparsity)
    units = sum(group.units for group in pruner.masks.groups)
    assert abs(report.sparsity - sparsity) <= step * 0.5 / units + 1e-9
    dead = find_erased(pruner.masks.groups, pruner.masks.weights)
    assert sum(int(d.sum()) for d in dead) == round(report.sparsity * units)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("criterion", CRITERIA, ids=repr)
def test_every_criterion_reaches_the_channels_asked_for(criterion, model):
    net, inputs = build(model)
    if (type(criterion).__name__, model) in UNSCORED:
        with pytest.raises(TargetError, match="Exclude these modules"):
            pruner_of(net, inputs, criterion, Channel(), Global(), 0.4)
        return
    assert_obtained(pruner_of(net, inputs, criterion, Channel(), Global(), 0.4), 0.4)


@pytest.mark.parametrize("criterion", CRITERIA, ids=repr)
def test_every_criterion_reaches_the_weights_asked_for(criterion):
    net, inputs = build("mlp")
    if type(criterion).__name__ in UNITS_ONLY:
        with pytest.raises(TargetError, match="Exclude these modules"):
            pruner_of(net, inputs, criterion, Weight(), Global(), 0.4)
        return
    assert_obtained(pruner_of(net, inputs, criterion, Weight(), Global(), 0.4), 0.4)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_every_allocation_reaches_what_was_asked_for(allocation, model):
    for granularity in (Channel(), Weight()):
        net, inputs = build(model)
        assert_obtained(pruner_of(net, inputs, Magnitude(), granularity, allocation, 0.4), 0.4)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("granularity", "sparsity", "step"),
    [
        pytest.param(Weight(), 0.7, 1, id="weight"),
        pytest.param(NM(1, 2), 0.5, 1, id="nm"),
        pytest.param(Block(2, 1), 0.5, 1, id="block"),
        pytest.param(Channel(round_to=2), 0.3, 2, id="channel in twos"),
        pytest.param(Channel(reduce="l2", normalize="max"), 0.3, 1, id="channel by l2"),
    ],
)
def test_every_granularity_reaches_what_was_asked_for(granularity, sparsity, step, model):
    net, inputs = build(model)
    pruner = pruner_of(net, inputs, Magnitude(), granularity, Global(), sparsity)
    assert_obtained(pruner, sparsity, step)


@pytest.mark.parametrize("model", MODELS)
def test_channel_counts_are_multiples_after_compaction(model):
    net, inputs = build(model)
    pruner_of(net, inputs, Magnitude(), Channel(round_to=2), Uniform(), 0.4).update(0.4)
    report = compact(net, inputs)
    assert all(group.kept % 2 == 0 for group in report.groups if group.removed)


def test_words_left_out_are_known():
    names = set(granularities.__all__) - {"Granularity", "UnitRules"}
    # Heads, layers and experts are not in all models: tests/granularities.
    assert names == {"Weight", "NM", "Block", "Channel", "Head", "Layer", "Expert"}


@pytest.mark.parametrize("bound", [0.5, 0.8])
def test_no_group_loses_more_than_its_bound_and_the_report_says_which_are_there(bound):
    net, inputs = build("plain_cnn")
    with torch.no_grad():
        first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
        first.weight.mul_(1e-3)
    pruner = pruner_of(
        net, inputs, Magnitude(), Channel(normalize="none"), Global(max_sparsity=bound), 0.4
    )
    report = pruner.update(0.4)
    for group in report.groups:
        assert group.kept >= math.ceil((1 - bound) * group.units)
        at_bound = group.removed and group.kept == math.ceil((1 - bound) * group.units)
        assert (group.name in report.bound) == bool(at_bound)
    assert report.bound
    assert f"at the bound of what they may lose: {report.bound[0]}" in report.notes()
