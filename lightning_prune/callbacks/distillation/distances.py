"""Distances between what a student and a teacher compute; functions of two tensors.

They are computed in float32 at least, and differentiable in the student's tensor.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def divergence(student: Tensor, teacher: Tensor, temperature: float, dim: int) -> Tensor:
    r"""Return how far the student's softened probabilities are from the teacher's.

    .. math:: T^2 \, \mathrm{KL}(\mathrm{softmax}(z_t / T) \,\|\, \mathrm{softmax}(z_s / T))

    Hinton et al., 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.

    Args:
        student: logits.
        teacher: logits of the same shape.
        temperature: T, greater than 0.
        dim: that of the classes, of which there are two at least.

    Returns:
        The mean over all other dimensions, a scalar.

    Raises:
        ValueError: if there are no two classes.
    """
    classes = student.shape[dim] if -student.dim() <= dim < student.dim() else 0
    if classes < 2:
        raise ValueError(
            f"Expected `dim` to be a dimension of at least two classes, but got {dim} for outputs "
            f"of shape {tuple(student.shape)}. For other outputs than logits of classes, pass "
            "kind='mse'."
        )
    found = F.log_softmax(_precise(student) / temperature, dim)
    expected = F.log_softmax(_precise(teacher) / temperature, dim)
    difference = F.kl_div(found, expected, reduction="none", log_target=True)
    return temperature**2 * difference.sum(dim).mean()


def squared_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference, a scalar.

    Args:
        student: any numbers.
        teacher: numbers of the same shape.
    """
    return F.mse_loss(_precise(student), _precise(teacher))


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Return how far features are apart, whatever their size.

    .. math:: \left\lVert s / \lVert s \rVert - t / \lVert t \rVert \right\rVert^2

    Romero et al., 2014, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, with the features of
    every example brought to length 1.

    Args:
        student: ``[batch, ...]``.
        teacher: of the same shape.

    Returns:
        The mean over the batch, a scalar in [0, 4].
    """
    one, other = (F.normalize(_precise(t).flatten(1), dim=1) for t in (student, teacher))
    return (one - other).square().sum(1).mean()


def _precise(tensor: Tensor) -> Tensor:
    """Return a tensor in float32 at least."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
