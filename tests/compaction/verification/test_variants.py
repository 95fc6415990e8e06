"""A compact model proves itself on inputs of several sizes."""

import pytest
import torch
from support.nets import Net
from torch import nn

from lightning_prune.compaction.verification.variants import randomized, variants
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs


def shapes(model, *inputs):
    return [
        [tuple(t.shape) for t in variant.tensors]
        for variant in variants(model, ExampleInputs.of(inputs))
    ]


CONV = nn.Conv2d(3, 2, 3)


def test_another_batch_and_another_size_where_the_model_allows_it():
    assert shapes(CONV, torch.randn(2, 3, 8, 12)) == [[(2, 3, 8, 12)], [(1, 3, 6, 9)]]
    assert shapes(CONV, torch.randn(1, 3, 8, 8)) == [[(1, 3, 8, 8)], [(2, 3, 6, 6)]]


def test_large_images_stay_multiples_of_the_usual_strides():
    assert shapes(CONV, torch.randn(1, 3, 224, 96))[1] == [(2, 3, 160, 64)]


def test_large_batches_are_cut():
    assert shapes(CONV, torch.randn(32, 3, 8, 8)) == [[(4, 3, 8, 8)], [(3, 3, 6, 6)]]


def test_a_fixed_size_leaves_another_batch():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    assert shapes(model, torch.randn(2, 3, 4, 4)) == [[(2, 3, 4, 4)], [(1, 3, 4, 4)]]


def test_a_fixed_batch_leaves_other_positions():
    model = Net(lambda m, x: torch.zeros(2, 3, 1, 1).expand_as(x))
    assert shapes(model, torch.randn(2, 3, 4, 4)) == [[(2, 3, 4, 4)], [(2, 3, 3, 3)]]


def test_a_model_of_one_size_gets_other_values():
    model = Net(lambda m, x: x.view(2, 48))
    inputs = ExampleInputs.of(torch.randn(2, 3, 4, 4))
    first, second = variants(model, inputs)
    assert torch.equal(first.tensors[0], inputs.tensors[0])
    assert second.tensors[0].shape == (2, 3, 4, 4)
    assert not torch.equal(first.tensors[0], second.tensors[0])


def test_a_model_that_needs_a_large_batch_gets_it():
    model = Net(lambda m, x: x.view(8, 3, 4))
    assert shapes(model, torch.randn(8, 3, 4)) == [[(8, 3, 4)], [(8, 3, 4)]]


def test_sequences_of_numbers_are_cut():
    words = nn.Embedding(10, 3)
    assert shapes(words, torch.arange(8).view(2, 4)) == [[(2, 4)], [(1, 3)]]


def test_a_model_that_does_not_run_is_told():
    with pytest.raises(ExampleInputsError, match="raised RuntimeError"):
        variants(CONV, ExampleInputs.of(torch.randn(2, 4, 8, 8)))


def test_random_values_have_the_mean_and_spread_of_the_example():
    x = 5 + 3 * torch.randn(1000, generator=torch.Generator().manual_seed(1))
    y = randomized(x)
    assert y.mean().item() == pytest.approx(5, abs=0.5)
    assert y.std().item() == pytest.approx(3, rel=0.1)
    assert torch.equal(randomized(torch.arange(3)), torch.tensor([2, 1, 0]))
