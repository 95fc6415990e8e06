import pytest
import torch
from torch import nn

from lightning_prune.pruning.enforcement import Enforcement

MASK = torch.tensor([[True, False], [False, True]])


def bound(dtype=torch.float32):
    weights = {
        "a": nn.Parameter(torch.ones(2, 2, dtype=dtype)),
        "b": nn.Parameter(torch.ones(3, dtype=dtype)),
    }
    return weights, Enforcement(weights, {"a": MASK})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weights(dtype):
    weights, enforcement = bound(dtype)
    enforcement.mask_weights()
    assert torch.equal(weights["a"] != 0, MASK)
    assert (weights["b"] == 1).all()
    assert weights["a"].dtype == dtype


def test_weights_of_other_optimizers_are_not_written_to():
    weights, enforcement = bound()
    version = weights["a"]._version
    enforcement.mask_weights([weights["b"]])
    assert weights["a"]._version == version
    enforcement.mask_weights([weights["a"]])
    assert torch.equal(weights["a"] != 0, MASK)


def test_weights_that_change_type_later():
    weights, enforcement = bound()
    enforcement.mask_weights()
    weights["a"].data = torch.ones(2, 2, dtype=torch.float64)
    enforcement.mask_weights()
    assert torch.equal(weights["a"] != 0, MASK)


def test_channels_last_weights_keep_their_layout():
    weight = nn.Parameter(torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last))
    mask = torch.rand(2, 3, 4, 4) > 0.5
    Enforcement({"w": weight}, {"w": mask}).mask_weights()
    assert torch.equal(weight != 0, mask)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_gradients():
    weights, enforcement = bound()
    enforcement.mask_gradients()
    weights["a"].grad, weights["b"].grad = torch.ones(2, 2), torch.ones(3)
    enforcement.mask_gradients()
    assert torch.equal(weights["a"].grad != 0, MASK)
    assert (weights["b"].grad == 1).all()


def test_sparse_gradients_stay():
    weights, enforcement = bound()
    weights["a"].grad = torch.ones(2, 2).to_sparse()
    enforcement.mask_gradients()
    assert (weights["a"].grad.to_dense() == 1).all()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_optimizer_state(name):
    weights, enforcement = bound()
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(list(weights.values()), lr=0.1, **options)
    for weight in weights.values():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    enforcement.mask_optimizer_state(optimizer)
    shaped = [v for v in optimizer.state[weights["a"]].values() if v.shape == MASK.shape]
    assert shaped
    assert all((v[~MASK] == 0).all() and (v[MASK] != 0).all() for v in shaped)
    others = [v for v in optimizer.state[weights["b"]].values() if v.shape == (3,)]
    assert all((v != 0).all() for v in others)


def test_without_masks_nothing_happens():
    weights, _ = bound()
    enforcement = Enforcement(weights, {})
    enforcement.mask_weights()
    enforcement.mask_gradients()
    enforcement.mask_optimizer_state(torch.optim.SGD(list(weights.values()), lr=0.1))
    assert all((w == 1).all() for w in weights.values())
