"""Threads are lent, and given back whatever happens."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_prune.measure.timed_model import TimedModel, cpu_threads


def test_threads_are_given_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), cpu_threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before


def test_a_timed_model_is_a_copy_in_eval_mode() -> None:
    model = nn.Linear(2, 2)
    timed = TimedModel(model, torch.zeros(3, 2), batch_size=2)
    assert timed.model is not model
    assert not timed.model.training
    assert timed.inputs.batch_size == 2
    assert timed.run_ms() > 0
