"""The contract that every criterion passes."""

import pickle
from dataclasses import replace

import pytest
import torch

from lightning_prune import criteria
from lightning_prune.criteria import Criterion, Fisher, Magnitude, SynFlow, Taylor
from lightning_prune.criteria.evidence import Activations, Gradients, Weights

EXAMPLES = {
    "Fisher": [Fisher(), Fisher(obd=True)],
    "Magnitude": [Magnitude(), Magnitude(p=2)],
    "SynFlow": [SynFlow(iterations=3)],
    "Taylor": [Taylor(), Taylor(squared=True)],
}
ALL = [
    pytest.param(criterion, id=repr(criterion))
    for name in criteria.__all__
    if name != "Criterion"
    for criterion in EXAMPLES.get(name) or [getattr(criteria, name)()]
]
SIGNED = {"Movement()", "Grasp()", "Taylor(squared=True)", "GeometricMedian()"}
SHAPES = [(4, 3, 2, 2), (5,), (3, 7)]


def draw(dtype=torch.float32):
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]


def observed(criterion, values):
    """What a criterion reads beside the weights, made of ``values``."""
    if criterion.reads is Weights:
        return []
    if criterion.reads is not Activations:
        return values
    return [
        criterion.observe(v).mean([d for d in range(v.dim()) if d != 1] or [0], keepdim=True)
        for v in values
    ]


def write(criterion, weights, values):
    flat = torch.full((sum(w.numel() for w in weights),), torch.nan)
    pieces = flat.split([w.numel() for w in weights])
    out = [piece.view(w.shape) for piece, w in zip(pieces, weights, strict=True)]
    criterion.write(out, weights, observed(criterion, values))
    return out


@pytest.mark.parametrize("criterion", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_writes_finite_float32_scores_and_nothing_else(criterion, dtype):
    weights, values = draw(dtype), draw(dtype)[::1]
    before = [t.clone() for t in weights + values]
    out = write(criterion, weights, values)
    assert all(o.dtype == torch.float32 and o.isfinite().all() for o in out)
    assert repr(criterion) in SIGNED or all((o >= 0).all() for o in out)
    assert all(torch.equal(a, b) for a, b in zip(before, weights + values, strict=True))


@pytest.mark.parametrize("criterion", ALL)
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e10])
def test_zero_tiny_and_huge_values_give_no_nan(criterion, size):
    values = [torch.full(shape, size) for shape in SHAPES]
    for weights in (draw(), [torch.zeros(shape) for shape in SHAPES]):
        assert all(o.isfinite().all() for o in write(criterion, weights, values))


@pytest.mark.parametrize("criterion", ALL)
def test_is_deterministic_and_leaves_the_global_generator_alone(criterion):
    state = torch.get_rng_state()
    first, second = (write(criterion, draw(), draw()) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("criterion", [p for p in ALL if p.values[0].reads is Gradients])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_shows(criterion, bad):
    gradients = draw()
    gradients[1][2] = bad
    assert not sum(o.sum() for o in write(criterion, draw(), gradients)).isfinite()


@pytest.mark.parametrize("criterion", ALL)
def test_whole_units_are_scored_one_each(criterion):
    rows = [torch.rand(5, 3), torch.rand(5, 8)]
    if not criterion.whole_units:
        with pytest.raises(NotImplementedError, match="scores weights, not whole units"):
            criterion.score_units(rows)
        return
    before = [row.clone() for row in rows]
    scores = criterion.score_units(rows)
    assert scores.shape == (5,)
    assert scores.isfinite().all()
    assert all(torch.equal(a, b) for a, b in zip(before, rows, strict=True))


@pytest.mark.parametrize("criterion", [p for p in ALL if p.values[0].reads is not Activations])
def test_only_those_that_read_activations_observe(criterion):
    with pytest.raises(NotImplementedError, match=f"reads {criterion.reads.name}, not activations"):
        criterion.observe(torch.ones(2))


@pytest.mark.parametrize("criterion", ALL)
def test_is_a_value(criterion):
    assert pickle.loads(pickle.dumps(criterion)) == criterion == replace(criterion)


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Criterion()
