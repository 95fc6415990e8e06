"""What is computed along some dimensions leaves the others alone and freezes those."""

import math

import pytest
import torch
import torch.nn.functional as F
from support.nets import Between
from torch import nn


def linear():
    return nn.Linear(8, 4)


ALONG_POSITIONS = {
    "max_pool": lambda x: F.max_pool2d(x, 2),
    "max_pool_with_indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "unpooled": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "adaptive_avg_pool": lambda x: F.adaptive_avg_pool2d(x, 3),
    "adaptive_max_pool": lambda x: F.adaptive_max_pool2d(x, 1),
    "global_avg_pool": lambda x: F.adaptive_avg_pool2d(x, 1),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest_exact": lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
    "bilinear": lambda x: F.interpolate(x, size=9, mode="bilinear"),
    "bilinear_antialiased": lambda x: F.interpolate(x, size=4, mode="bilinear", antialias=True),
    "bicubic": lambda x: F.interpolate(x, size=9, mode="bicubic", align_corners=True),
    "mean_kept": lambda x: x.mean((2, 3), keepdim=True),
    "sum_kept": lambda x: x.sum(3, keepdim=True),
    "std_kept": lambda x: x.std((2, 3), keepdim=True),
    "norm_kept": lambda x: x.norm(dim=(2, 3), keepdim=True),
    "max_kept": lambda x: x.max(3, keepdim=True).values,
    "amax_kept": lambda x: x.amax((-1, -2), keepdim=True),
}

CONSTANT = {
    "logsumexp_kept": lambda x: x.logsumexp((2, 3), keepdim=True),
    "argmax_kept": lambda x: x.argmax(3, keepdim=True).to(x),
    "place_of_the_maximum": lambda x: x.max(3, keepdim=True).indices.to(x),
    "places_of_a_pooling": lambda x: F.max_pool2d(x, 2, return_indices=True)[1].to(x),
}

OVER_CHANNELS = {
    "mean_of_what_is_not_zero": lambda x: x * x.exp().mean(1, keepdim=True),
    "sum_of_what_is_not_zero": lambda x: x * x.exp().sum(1, keepdim=True),
    "number_of_zeros": lambda x: x * x.norm(0, dim=1, keepdim=True),
    "largest_norm": lambda x: x * x.norm(math.inf, dim=1, keepdim=True),
    "argmax": lambda x: x * x.argmax(1, keepdim=True),
    "place_of_the_maximum": lambda x: x * x.max(1, keepdim=True).indices,
}


def clamped_if_infinite(x):
    return x if torch.isfinite(x).all() else x.clamp(-1, 1)


COUNTED = {
    "max": lambda x: x * x.max(1, keepdim=True).values,
    "amin": lambda x: x * torch.amin(x, 1, keepdim=True),
    "std": lambda x: x / x.std((1, 2, 3), keepdim=True),
    "var_mean": lambda x: x * torch.var_mean(x, 1, keepdim=True)[1],
    "max_of_all": lambda x: x * x.max(),
    "logsumexp": lambda x: x * x.logsumexp(1, keepdim=True),
    "variance_by_hand": lambda x: x * (x - x.mean(1, keepdim=True)).pow(2).mean(1, keepdim=True),
}


@pytest.mark.parametrize("op", ALONG_POSITIONS.values(), ids=ALONG_POSITIONS)
def test_along_positions_channels_stay_channels(op):
    Between(op, 8).check()


@pytest.mark.parametrize("op", CONSTANT.values(), ids=CONSTANT)
def test_along_positions_zero_may_become_a_constant(op):
    Between(op, 8, constant=True).check()


SUMS = {
    "sum": lambda x: x * x.sum(1, keepdim=True),
    "sum_of_all": lambda x: x * x.sum(),
    "norm": lambda x: x / x.norm(dim=1, keepdim=True),
    "norm_of_order_one": lambda x: x / x.norm(1, dim=(1, 2), keepdim=True),
    "vector_norm": lambda x: x / torch.linalg.vector_norm(x, 3, dim=1, keepdim=True),
    "normalize": lambda x: F.normalize(x, dim=1),
    "cosine_similarity": lambda x: x * F.cosine_similarity(x, x.roll(1, 2), 1)[:, None],
    "any": lambda x: x * (x > 1).any(1, keepdim=True),
}


@pytest.mark.parametrize("op", SUMS.values(), ids=SUMS)
def test_zeros_add_nothing_to_a_sum(op):
    Between(op, 8, exposed=True).check()


@pytest.mark.parametrize("op", OVER_CHANNELS.values(), ids=OVER_CHANNELS)
def test_over_channels_it_freezes(op):
    Between(op, reason="reduced over a labelled dimension").check()


@pytest.mark.parametrize("op", COUNTED.values(), ids=COUNTED)
def test_over_channels_it_counts_what_is_gone(op):
    Between(op, 8, exposed=True, corrected=True).check()


def test_zeros_are_finite():
    Between(clamped_if_infinite, 8, exposed=True).check()


DROPPED = {
    "mean": lambda x: x.mean((2, 3)),
    "mean_from_the_end": lambda x: x.mean((-1, -2)),
    "one_after_the_other": lambda x: x.sum(2).amax(2),
    "maximum_of_two": lambda x: torch.max(x, x.relu()).mean((2, 3)),
}


@pytest.mark.parametrize("op", DROPPED.values(), ids=DROPPED)
def test_reduced_dimensions_may_be_dropped(op):
    Between(op, 8, second=linear).check()


def test_pooling_over_channels_freezes():
    Between(
        lambda x: F.max_pool2d(x.transpose(1, 2), 2, 1, 0),
        second=lambda: nn.Conv2d(6, 4, 1),
        reason="computed along a labelled position",
    ).check()


def test_a_comparison_of_sizes_is_not_a_reduction():
    Between(lambda x: torch.max(x, torch.zeros_like(x)), 8).check()
