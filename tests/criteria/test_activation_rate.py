import pytest
import torch
from torch import nn

from lightning_prune.criteria import ActivationRate
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Weight
from lightning_prune.pruning import prune


def make_model():
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))


def run(model, batches, **options):
    return prune(
        model,
        batches[0],
        criterion=ActivationRate(),
        batches=batches,
        loss=lambda m, batch: m(batch).sum(),
        **options,
    )


def test_units_that_fire_least_go():
    model, batches = make_model(), torch.randn(3, 8, 5)
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-0.9, 1.0, -0.2, 2.0, -0.6, 0.3]))
        rates = torch.cat([torch.relu(model[0](b)) > 0 for b in batches]).float().mean(0)
    assert rates.sort().values[:4].unique().numel() == 4
    run(model, batches, sparsity=0.5, of="units")
    gone = torch.nonzero(model[0].bias == 0).flatten().tolist()
    assert set(gone) == set(rates.argsort()[:3].tolist())


def test_a_threshold_counts_absolute_values():
    criterion = ActivationRate(threshold=0.5)
    assert criterion.observe(torch.tensor([-1.0, 0.5, 0.6, 0.0])).tolist() == [1.0, 0.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="Expected `threshold` to be a finite number of"):
        ActivationRate(threshold=-1.0)


def test_the_rate_is_averaged_over_all_that_a_unit_feeds():
    rows = [torch.tensor([[0.5, 0.1], [1.0, 1.0]])]
    assert ActivationRate().score_units(rows).tolist() == pytest.approx([0.3, 1.0])


def test_single_weights_do_not_fire():
    with pytest.raises(TargetError, match=r"no score of 0\.weight, 2\.weight"):
        run(make_model(), torch.randn(3, 8, 5), sparsity=0.5, granularity=Weight())


def test_no_hook_is_left_in_the_model():
    model = make_model()
    run(model, torch.randn(3, 8, 5), sparsity=0.5)
    assert not any(m._forward_pre_hooks for m in model.modules())
