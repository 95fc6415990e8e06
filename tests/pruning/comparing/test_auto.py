"""The criterion that tries others."""

import pytest
import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.pruning import Recipe


def loss(model, batch):
    x, y = batch
    return (model(x) - y).square().mean()


def loud_and_idle():
    """A net whose four units of large weights are never read, and batches of what it computes."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        model[0].weight[:4] *= 100
        model[2].weight[:, :4] *= 1e-6
    x = torch.randn(64, 4, generator=generator)
    # Not quite what it computes, where its loss would have no gradient.
    return model, [(part, model(part).detach() + 0.1) for part in x.split(16)]


def test_bare_criteria_take_the_allocation_of_the_caller():
    auto = lp.Auto([lp.Magnitude(), lp.Candidate(lp.Taylor(), lp.Uniform())])
    recipe = Recipe(0.5, auto, allocation=lp.Isomorphic())
    allocations = [alternative.allocation for alternative in recipe.alternatives]
    assert allocations == [lp.Isomorphic(), lp.Uniform()]


@pytest.mark.parametrize("turned", [False, True])
def test_prune_uses_the_candidate_that_loses_least_whatever_the_order(turned):
    candidates = [lp.Magnitude(), lp.Taylor(), lp.Random()]
    model, batches = loud_and_idle()
    auto = lp.Auto(candidates[::-1] if turned else candidates)
    report = lp.prune(
        model, batches[0][0], sparsity=0.5, criterion=auto, batches=batches, loss=loss
    )
    assert report.comparison.best.criterion == lp.Taylor()
    assert not model[0].weight[:4].any()
    assert model[0].weight[4:].all()
    assert report.comparison.line() in report.notes()
    assert str(report.comparison) in str(report)


def test_what_is_chosen_is_cut_as_if_it_were_alone():
    given = {"sparsity": 0.5, "loss": loss}
    model, batches = loud_and_idle()
    alone, others = loud_and_idle()
    auto = lp.Auto([lp.Random(), lp.Candidate(lp.Fisher(), lp.Uniform()), lp.Wanda()])
    report = lp.prune(model, batches[0][0], criterion=auto, batches=batches, **given)
    best = report.comparison.best
    lp.prune(
        alone,
        others[0][0],
        criterion=best.criterion,
        allocation=best.allocation,
        batches=others,
        **given,
    )
    for mine, theirs in zip(model.parameters(), alone.parameters(), strict=True):
        assert mine.equal(theirs)


def test_the_loop_of_ones_own_chooses_at_its_update():
    model, batches = loud_and_idle()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    auto = lp.Auto([lp.Magnitude(), lp.Taylor()])
    pruner = lp.Pruner(
        model, batches[0][0], sparsity=0.5, criterion=auto, batches=batches, loss=loss
    )
    pruner.attach(optimizer)
    for epoch in range(2):
        report = pruner.step(epoch)
        for batch in batches:
            loss(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    pruner.detach()
    assert report.comparison.best.criterion == lp.Taylor()
    assert not model[0].weight[:4].any()


def test_what_was_chosen_is_part_of_the_state():
    model, batches = loud_and_idle()
    auto = lp.Auto([lp.Random(), lp.Taylor()])
    given = {"sparsity": 0.5, "criterion": auto, "batches": batches, "loss": loss}
    pruner, other = (lp.Pruner(model, batches[0][0], **given) for _ in range(2))
    loss(model, batches[0]).backward()
    pruner.accumulate()
    pruner.step(1)
    other.load_state_dict(pruner.state_dict())
    chosen = [p.state_dict()["candidate"] for p in (pruner, other)]
    assert chosen == [1, 1]


def test_a_single_batch_cannot_be_held_out():
    model, batches = loud_and_idle()
    with pytest.raises(ValueError, match="`batches` to have a batch that can be held out"):
        lp.prune(
            model,
            batches[0][0],
            sparsity=0.5,
            criterion=lp.Auto([lp.Magnitude()]),
            batches=batches[:1],
            loss=loss,
        )


@pytest.mark.parametrize("missing", ["batches", "loss"])
def test_data_that_are_missing_are_named(missing):
    model, batches = loud_and_idle()
    given = {"batches": batches, "loss": loss} | {missing: None}
    auto = lp.Auto([lp.Magnitude()])
    with pytest.raises(ValueError, match=f"but got None for {missing}"):
        lp.prune(model, batches[0][0], sparsity=0.5, criterion=auto, **given)
    with pytest.raises(ValueError, match=f"but got None for {missing}"):
        lp.Pruner(model, batches[0][0], sparsity=0.5, criterion=auto, **given)


REFUSING = {
    "regularization": lambda auto: lp.Pruning(0.5, auto, regularization=lp.GroupLasso()),
    "dry run": lambda auto: lp.Pruning(0.5, auto, dry_run=True),
    "a candidate": lambda auto: lp.Auto([auto]),
    "sensitivity": lambda auto: lp.sensitivity(
        nn.Linear(2, 2), None, lambda model, data: 0.0, criterion=auto, granularity=lp.Weight()
    ),
}


@pytest.mark.parametrize("what", REFUSING)
def test_what_takes_one_score_refuses_it(what):
    with pytest.raises(ValueError, match=f"give scores itself for .*{what}"):
        REFUSING[what](lp.Auto([lp.Magnitude()]))


def test_no_latency_is_measured_of_every_candidate():
    with pytest.raises(ValueError, match="`of` to be 'parameters', 'macs' or 'units'"):
        Recipe(0.5, lp.Auto([lp.Magnitude()]), of="latency")


def test_it_has_no_scores_of_its_own():
    with pytest.raises(NotImplementedError, match="no scores of its own"):
        lp.Auto([lp.Magnitude()]).write([], [], [])
