import pytest
import torch
from torch import Tensor, nn

from lightning_prune.criteria import BrainSurgeon
from lightning_prune.criteria.evidence import Covariances, covariances
from lightning_prune.criteria.evidence.base import Subject


def evidence_of(model: nn.Module, name: str) -> Covariances:
    weights = {name: model.get_parameter(name)}
    return Covariances(Subject(model, weights, BrainSurgeon(), lambda s: list(s.values()), {}))


def seen(model: nn.Module, name: str, batches: Tensor) -> Covariances:
    evidence = evidence_of(model, name)
    evidence.start(only_training=False)
    for batch in batches:
        evidence.gather(lambda m, b: m(b).sum(), batch)
    evidence.stop()
    return evidence


def expected(rows: Tensor, weight: Tensor) -> Tensor:
    """One after the other, by inverses of what is left."""
    known = torch.cov(rows.double().T, correction=0)
    damped = known + 0.01 * known.diagonal().mean() * torch.eye(len(known))
    squares = weight.detach().double().movedim(1, 0).flatten(1).square().sum(1)
    left, found, most = list(range(len(damped))), torch.zeros(len(damped)), 0.0
    while left:
        variances = torch.linalg.inv(damped[left][:, left]).diagonal().reciprocal()
        errors = squares[left] * variances
        most = max(most, float(errors.min()))
        gone = left.pop(int(errors.argmin()))
        found[gone] = most / squares[gone]
    return found


@pytest.mark.parametrize("block", [1, 3, 64])
def test_the_variance_that_the_other_inputs_do_not_explain(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covariances, "_BLOCK", block)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(9, 2))
    batches = torch.randn(3, 40, 9) @ torch.randn(9, 9) + 3
    found = seen(model, "0.weight", batches).observed()[0]
    known = expected(batches.flatten(0, 1), model[0].weight)
    torch.testing.assert_close(found, known[None], rtol=1e-3, atol=1e-5)


def test_channels_of_a_convolution_at_every_position() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 4, 3, 6, 6)
    model = nn.Sequential(nn.Conv2d(3, 2, 3))
    found = seen(model, "0.weight", images).observed()[0]
    assert found.shape == (1, 3, 1, 1)
    known = expected(images.movedim(2, -1).flatten(0, 3), model[0].weight)
    torch.testing.assert_close(found.flatten(), known, rtol=1e-3, atol=1e-5)


def test_of_inputs_that_are_alike_one_counts() -> None:
    torch.manual_seed(0)
    rows = torch.randn(1, 90, 3).repeat(1, 1, 2)
    model = nn.Sequential(nn.Linear(6, 2))
    nn.init.ones_(model[0].weight)
    found = seen(model, "0.weight", rows).observed()[0].flatten()
    pairs = torch.stack([found[:3], found[3:]]).sort(0).values
    assert bool((pairs[0] < 0.1).all())
    assert bool((pairs[1] > 0.5).all())


def test_inputs_that_never_vary_have_nothing_left() -> None:
    evidence = seen(nn.Sequential(nn.Linear(4, 2)), "0.weight", torch.ones(1, 5, 4))
    assert evidence.observed()[0].tolist() == [[0.0] * 4]


def test_sums_of_ranks_are_added_up_and_stored() -> None:
    model, batches = nn.Sequential(nn.Linear(3, 4)), torch.randn(2, 9, 3)
    evidence, other = seen(model, "0.weight", batches), evidence_of(model, "0.weight")
    before = evidence.observed()[0]
    evidence.reduce(lambda tensor: 2 * tensor)  # two ranks that saw the same
    torch.testing.assert_close(evidence.observed()[0], before)
    other.load_state_dict(evidence.state_dict())
    assert torch.equal(other.observed()[0], evidence.observed()[0])
    evidence.reset()
    assert not evidence.ready
