import pytest
import torch
from torch import nn

from lightning_prune.criteria import Grasp
from lightning_prune.granularities import Weight
from lightning_prune.pruning import prune


def test_removes_the_lowest_by_the_full_hessian_in_double_precision():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    named = list(model.named_parameters())
    sizes = [p.numel() for _, p in named]

    def loss_of(flat):
        pieces = zip(named, flat.split(sizes), strict=True)
        weights = {name: piece.view(p.shape) for (name, p), piece in pieces}
        return (torch.func.functional_call(model, weights, (x,)) - y).square().mean()

    flat = torch.cat([p.detach().flatten() for _, p in named])
    hessian = torch.autograd.functional.hessian(loss_of, flat)
    gradient = torch.autograd.functional.jacobian(loss_of, flat)
    pieces = (flat * (hessian @ gradient)).split(sizes)
    scores = {name: piece for (name, _), piece in zip(named, pieces, strict=True)}
    expected = torch.cat([scores["0.weight"], scores["2.weight"]])
    prune(
        model,
        sparsity=0.5,
        criterion=Grasp(),
        granularity=Weight(),
        batches=[(x, y)],
        loss=lambda m, batch: (m(batch[0]) - batch[1]).square().mean(),
    )
    left = torch.cat([model[0].weight.flatten(), model[2].weight.flatten()])
    gone = torch.nonzero(left == 0).flatten().tolist()
    assert set(gone) == set(expected.argsort()[:10].tolist())


def test_is_the_product():
    out = [torch.empty(2)]
    Grasp().write(out, [torch.tensor([2.0, 3.0])], [torch.tensor([-1.0, 0.5])])
    assert out[0].tolist() == pytest.approx([-2.0, 1.5])
