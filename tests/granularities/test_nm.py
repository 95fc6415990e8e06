import pytest
import torch
from torch import nn

from lightning_prune.criteria import Magnitude
from lightning_prune.errors import TargetError
from lightning_prune.granularities import NM
from lightning_prune.pruning import BasePruner, Recipe, find_prunable, prune


def by_hand(matrix, n, m):
    """Which of every m neighbours along the inputs are among the n largest."""
    stays = torch.zeros_like(matrix, dtype=torch.bool)
    for row in range(matrix.shape[0]):
        for start in range(0, matrix.shape[1], m):
            block = matrix[row, start : start + m].abs()
            for i in block.argsort(descending=True)[:n].tolist():
                stays[row, start + i] = True
    return stays


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 2), (1, 4), (4, 8)])
def test_exactly_the_largest_n_of_every_m_stay(n, m):
    model = nn.Sequential(nn.Linear(16, 6), nn.Linear(8, 16))
    expected = [by_hand(layer.weight.detach(), n, m) for layer in model]
    report = prune(model, sparsity=1 - n / m, criterion=Magnitude(), granularity=NM(n, m))
    assert report.sparsity == 1 - n / m
    assert all(torch.equal(one.weight != 0, e) for one, e in zip(model, expected, strict=True))


def test_the_inputs_of_a_convolution_are_its_second_dimension():
    model = nn.Sequential(nn.Conv2d(8, 3, 3))
    flat = model[0].weight.detach().permute(0, 2, 3, 1).reshape(-1, 8)
    expected = by_hand(flat, 2, 4)
    prune(model, sparsity=0.5, criterion=Magnitude(), granularity=NM(2, 4))
    assert torch.equal(model[0].weight.permute(0, 2, 3, 1).reshape(-1, 8) != 0, expected)


def test_on_the_way_there_no_four_lose_more_than_two():
    model = nn.Sequential(nn.Linear(32, 16))
    recipe = Recipe(0.5, Magnitude(), NM(2, 4))
    pruner = BasePruner(model, recipe, find_prunable(recipe, model, None))
    for sparsity in (0.2, 0.4, 0.5):
        assert pruner.update(sparsity).sparsity == pytest.approx(sparsity, abs=1 / 512)
        left = (model[0].weight.view(-1, 4) != 0).sum(1)
        assert left.min() >= 2
    assert (left == 2).all()


def test_more_is_out_of_reach():
    with pytest.raises(TargetError, match=r"at most 0\.5000"):
        prune(
            nn.Sequential(nn.Linear(8, 8)),
            sparsity=0.6,
            criterion=Magnitude(),
            granularity=NM(2, 4),
        )


def test_inputs_that_are_no_multiple_are_named():
    model = nn.Sequential(nn.Linear(10, 8), nn.Linear(8, 4))
    report = prune(model, sparsity=0.5, criterion=Magnitude(), granularity=NM(2, 4))
    reason = "it has 10 inputs, which is no multiple of 4"
    assert report.left_alone == {"0.weight": reason}


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (5, 4), (1, 1)])
def test_refuses_what_is_no_fraction(n, m):
    with pytest.raises(ValueError, match=r"Expected `[nm]` to be an integer of at least"):
        NM(n, m)


@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="sparse tensor cores are on GPUs")
def test_semi_structured_tensors_take_it():
    model = nn.Sequential(nn.Linear(128, 128, bias=False)).half().cuda()
    prune(model, sparsity=0.5, criterion=Magnitude(), granularity=NM(2, 4))
    x = torch.rand(128, 128).half().cuda()
    expected = model(x)
    sparse = torch.sparse.to_sparse_semi_structured(model[0].weight.detach())
    model[0].weight = nn.Parameter(sparse)
    assert torch.allclose(model(x), expected, atol=1e-2)
