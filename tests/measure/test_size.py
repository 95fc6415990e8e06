from pathlib import Path

import pytest
import torch
from safetensors.torch import save_model
from torch import nn

from lightning_prune.measure.size import count_bytes, count_parameters


def tied() -> nn.Module:
    model = nn.ModuleDict({"embedding": nn.Embedding(10, 4), "head": nn.Linear(4, 10)})
    model["head"].weight = model["embedding"].weight
    return model


def test_parameters_are_counted_frozen_or_not() -> None:
    assert count_parameters(nn.Linear(16, 32).requires_grad_(False)) == 16 * 32 + 32


def test_tied_parameters_count_once() -> None:
    assert count_parameters(tied()) == 10 * 4 + 10
    assert count_bytes(tied()) == 4 * (10 * 4 + 10)


def test_buffers_have_bytes_but_are_no_parameters() -> None:
    model = nn.BatchNorm1d(8)
    assert count_parameters(model) == 2 * 8
    # Scale, shift, mean and variance in float32; the counter is one int64.
    assert count_bytes(model) == 4 * 4 * 8 + 8


def test_buffers_that_are_not_saved_have_no_bytes() -> None:
    model = nn.Linear(2, 2, bias=False)
    model.register_buffer("cache", torch.zeros(100), persistent=False)
    assert count_bytes(model) == 4 * 2 * 2


def test_bytes_follow_the_type() -> None:
    assert count_bytes(nn.Linear(2, 2, bias=False).to(torch.bfloat16)) == 2 * 2 * 2


def test_a_model_without_memory_has_the_bytes_that_it_would_take() -> None:
    assert count_bytes(nn.Linear(16, 32, device="meta")) == 4 * (16 * 32 + 32)


@pytest.mark.parametrize("model", [nn.Linear(64, 64), nn.BatchNorm1d(64), tied()])
def test_a_file_takes_these_bytes_and_a_header(model: nn.Module, tmp_path: Path) -> None:
    save_model(model, str(tmp_path / "model.safetensors"))
    header_bytes = (tmp_path / "model.safetensors").stat().st_size - count_bytes(model)
    assert 0 < header_bytes < 1024
