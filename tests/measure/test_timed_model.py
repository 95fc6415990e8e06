"""Threads are lent, and given back whatever happens."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

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


class Waits(nn.Module):
    """Does nothing for twenty milliseconds."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.02)
        return x


def test_what_is_compiled_does_not_tell_its_memory_on_the_cpu() -> None:
    model, x = nn.Linear(2, 2), torch.zeros(3, 2)
    assert TimedModel(model, x, compiled=True).peak_bytes() is None
    assert TimedModel(model, x).peak_bytes() is not None


def test_time_at_work_leaves_out_what_a_thread_waits_for() -> None:
    assert TimedModel(Waits(), torch.zeros(1)).run_ms() >= 20
    assert TimedModel(Waits(), torch.zeros(1), cpu_time=True).run_ms() < 20
