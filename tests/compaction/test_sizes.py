"""The sizes that torch's modules repeat follow from their tensors."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from lightning_prune.compaction.sizes import module_sizes


class Conv(nn.Conv2d):
    """A class derived from torch's own."""


ROWS = {
    "linear": (nn.Linear(3, 5), {"in_features": 3, "out_features": 5}),
    "conv1d": (nn.Conv1d(3, 5, 2), {"in_channels": 3, "out_channels": 5}),
    "conv3d": (nn.Conv3d(3, 5, 2), {"in_channels": 3, "out_channels": 5}),
    "derived": (Conv(3, 5, 2), {"in_channels": 3, "out_channels": 5}),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), {"in_channels": 4, "out_channels": 6}),
    "transposed": (nn.ConvTranspose2d(4, 6, 3), {"in_channels": 4, "out_channels": 6}),
    "transposed_grouped": (
        nn.ConvTranspose2d(4, 6, 3, groups=2),
        {"in_channels": 4, "out_channels": 6},
    ),
    "batch_norm": (nn.BatchNorm2d(7), {"num_features": 7}),
    "batch_norm_of_statistics_only": (nn.BatchNorm1d(7, affine=False), {"num_features": 7}),
    "instance_norm": (nn.InstanceNorm1d(7, affine=True), {"num_features": 7}),
    "instance_norm_of_nothing": (nn.InstanceNorm1d(7), {}),
    "embedding": (nn.Embedding(9, 4), {"num_embeddings": 9, "embedding_dim": 4}),
    "embedding_bag": (nn.EmbeddingBag(9, 4), {"num_embeddings": 9, "embedding_dim": 4}),
    "bilinear": (
        nn.Bilinear(3, 4, 5),
        {"in1_features": 3, "in2_features": 4, "out_features": 5},
    ),
    "gru": (nn.GRU(3, 5, 2), {"input_size": 3, "hidden_size": 5}),
    "projected": (
        nn.LSTM(3, 5, proj_size=4),
        {"input_size": 3, "hidden_size": 5, "proj_size": 4},
    ),
    "cell": (nn.LSTMCell(3, 5), {"input_size": 3, "hidden_size": 5}),
    "without_sizes": (nn.ReLU(), {}),
}


@pytest.mark.parametrize(("module", "sizes"), ROWS.values(), ids=ROWS)
def test_sizes_are_those_of_a_fresh_module(module, sizes):
    assert module_sizes(module) == sizes
    assert all(getattr(module, name) == size for name, size in sizes.items())


def test_sizes_of_a_weight_that_is_computed_follow_what_it_is_computed_from():
    linear = prune.identity(nn.Linear(3, 5), "weight")
    linear.weight_orig.data = torch.zeros(2, 3)
    assert module_sizes(linear) == {"in_features": 3, "out_features": 2}


def test_sizes_of_a_spectral_norm_in_train_mode_do_not_take_a_step():
    linear = parametrizations.spectral_norm(nn.Linear(3, 5))
    before = {name: tensor.clone() for name, tensor in linear.state_dict().items()}
    assert module_sizes(linear) == {"in_features": 3, "out_features": 5}
    assert all(torch.equal(before[name], tensor) for name, tensor in linear.state_dict().items())
    assert all(module.training for module in linear.modules())


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_sizes_of_an_emptied_weight_are_found_without_computing_it(norm):
    conv = norm(nn.Conv2d(3, 5, 2))
    for original in conv.parametrizations.weight.parameters():
        original.data = original.data[:0]
    assert module_sizes(conv) == {"in_channels": 3, "out_channels": 0}


def test_sizes_follow_the_tensors():
    linear = nn.Linear(3, 5)
    linear.weight.data = torch.zeros(2, 3)
    assert module_sizes(linear) == {"in_features": 3, "out_features": 2}
