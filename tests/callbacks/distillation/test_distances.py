from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_prune.callbacks.distillation.distances import (
    divergence,
    feature_distance,
    squared_error,
)


def probabilities(*odds: float) -> Tensor:
    """Logits of probabilities in these relations."""
    return torch.tensor([odds]).log()


def test_the_divergence_is_that_of_probabilities_by_hand() -> None:
    student, teacher = probabilities(1.0, 3.0), probabilities(1.0, 1.0)
    by_hand = 0.5 * torch.tensor(0.5 / 0.25).log() + 0.5 * torch.tensor(0.5 / 0.75).log()
    torch.testing.assert_close(divergence(student, teacher, 1.0, 1), by_hand)


def test_a_temperature_divides_logits_and_keeps_the_size_of_gradients() -> None:
    student, teacher = 2.0 * probabilities(1.0, 3.0), 2.0 * probabilities(1.0, 1.0)
    cool = divergence(student / 2.0, teacher / 2.0, 1.0, 1)
    torch.testing.assert_close(divergence(student, teacher, 2.0, 1), 4.0 * cool)


@pytest.mark.parametrize(("shape", "dim"), [((5, 4), 1), ((5, 3, 2, 4), -1), ((5, 4, 3, 2), 1)])
def test_the_divergence_is_a_mean_over_all_but_the_classes(
    shape: tuple[int, ...], dim: int
) -> None:
    student, teacher = torch.randn(shape), torch.randn(shape)
    rows, others = (t.movedim(dim, -1).reshape(-1, 4) for t in (student, teacher))
    each = [divergence(a[None], b[None], 3.0, 1) for a, b in zip(rows, others, strict=True)]
    found = divergence(student, teacher, 3.0, dim)
    torch.testing.assert_close(found, torch.stack(each).mean())


@pytest.mark.parametrize("shape", [(4, 1), (4,), ()], ids=str)
def test_one_class_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected `dim` .* but got 1 .*kind='mse'"):
        divergence(torch.zeros(shape), torch.zeros(shape), 1.0, 1)


def test_the_squared_error_is_a_mean() -> None:
    assert squared_error(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])) == 2.0


def test_features_are_compared_by_their_direction() -> None:
    student = torch.tensor([[[2.0], [0.0]], [[0.0], [5.0]]])
    teacher = torch.tensor([[[1.0], [0.0]], [[3.0], [0.0]]])
    assert feature_distance(student, teacher) == (0.0 + 2.0) / 2
    assert feature_distance(student, -student) == 4.0


@pytest.mark.parametrize(
    "distance", [lambda a, b: divergence(a, b, 2.0, 1), squared_error, feature_distance]
)
def test_half_precision_is_computed_in_float32(distance: object) -> None:
    student, teacher = torch.randn(3, 4).bfloat16(), torch.randn(3, 4).bfloat16()
    found = distance(student, teacher)  # type: ignore[operator]
    assert found.dtype == torch.float32
    assert found == distance(student.float(), teacher.float())  # type: ignore[operator]


def test_zero_features_have_a_finite_gradient() -> None:
    student = torch.zeros(2, 3, requires_grad=True)
    feature_distance(student, torch.ones(2, 3)).backward()
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())
