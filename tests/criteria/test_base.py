"""The contract that every criterion passes."""

import pickle

import pytest
import torch

from lightning_prune import criteria
from lightning_prune.criteria import Criterion

ALL = [
    pytest.param(getattr(criteria, name)(), id=name)
    for name in criteria.__all__
    if name != "Criterion"
]
SHAPES = [(4, 3, 2, 2), (5,), (3, 7)]


def draw(dtype=torch.float32):
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]


def write(criterion, weights, gradients):
    flat = torch.full((sum(w.numel() for w in weights),), torch.nan)
    pieces = flat.split([w.numel() for w in weights])
    out = [piece.view(w.shape) for piece, w in zip(pieces, weights, strict=True)]
    criterion.write(out, weights, gradients if criterion.needs_gradients else [])
    return out


@pytest.mark.parametrize("criterion", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_writes_finite_float32_scores_and_nothing_else(criterion, dtype):
    weights, gradients = draw(dtype), draw(dtype)[::1]
    before = [t.clone() for t in weights + gradients]
    out = write(criterion, weights, gradients)
    assert all(o.dtype == torch.float32 and o.isfinite().all() and (o >= 0).all() for o in out)
    assert all(torch.equal(a, b) for a, b in zip(before, weights + gradients, strict=True))


@pytest.mark.parametrize("criterion", ALL)
def test_zero_gradients_give_no_nan(criterion):
    out = write(criterion, draw(), [torch.zeros(shape) for shape in SHAPES])
    assert all(o.isfinite().all() for o in out)


@pytest.mark.parametrize("criterion", ALL)
def test_is_deterministic_and_leaves_the_global_generator_alone(criterion):
    state = torch.get_rng_state()
    first, second = (write(criterion, draw(), draw()) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("criterion", [p for p in ALL if p.values[0].needs_gradients])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_shows(criterion, bad):
    gradients = draw()
    gradients[1][2] = bad
    assert not sum(o.sum() for o in write(criterion, draw(), gradients)).isfinite()


@pytest.mark.parametrize("criterion", ALL)
def test_is_a_value(criterion):
    assert pickle.loads(pickle.dumps(criterion)) == criterion


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Criterion()
