import pytest
import torch
from torch import Tensor, nn

from lightning_prune.criteria import Gradient, Grasp
from lightning_prune.criteria.evidence import Curvature, Gradients
from lightning_prune.criteria.evidence.base import Subject


def subject(model: nn.Module, criterion: object) -> Subject:
    weights = dict(model.named_parameters())
    return Subject(model, weights, criterion, lambda scores: list(scores.values()), {})


def loss(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch).square().mean()


def test_a_batch_adds_the_shares_of_its_gradient() -> None:
    model, x = nn.Linear(3, 1), torch.randn(5, 3)
    evidence = Gradients(subject(model, Gradient()))
    assert not evidence.started
    assert not evidence.ready
    evidence.gather(loss, x)
    total = sum(p.grad.abs().sum() for p in model.parameters())
    assert evidence.ready
    for score, parameter in zip(evidence.scores(), model.parameters(), strict=True):
        torch.testing.assert_close(score, parameter.grad.abs() / total)
    evidence.reset()
    assert not evidence.started


def test_curvature_is_the_hessian_times_the_gradient() -> None:
    model = nn.Linear(2, 1, bias=False)
    x = torch.tensor([[1.0, 2.0]])
    # J = (x w)^2, so g = 2 (x w) x and H = 2 x x^T.
    g = 2 * (model.weight @ x.T).detach() * x
    expected = 2 * (x.T @ x) @ g.T
    evidence = Curvature(subject(model, Grasp()))
    evidence.gather(loss, x)
    torch.testing.assert_close(model.weight.grad, expected.T)
    assert not Curvature.in_training


def test_a_loss_without_a_gradient_is_refused() -> None:
    evidence = Gradients(subject(nn.Linear(2, 1), Gradient()))
    with pytest.raises(ValueError, match="Expected `loss` to return a scalar tensor"):
        evidence.gather(lambda model, batch: torch.ones(2), None)
