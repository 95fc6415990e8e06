"""A model is copied to float64 where there is room for it."""

import torch
from torch import nn

from lightning_prune.compaction.verification import memory


def test_a_small_model_fits():
    assert memory.has_room(nn.Linear(2, 2))
    assert memory.has_room(nn.ReLU())


def test_three_copies_must_fit(monkeypatch):
    model = nn.Linear(10, 10, bias=False)
    for free, fits in ((3 * 8 * 100, False), (3 * 8 * 100 + 1, True)):
        monkeypatch.setattr(memory, "_free_memory", lambda free=free: free)
        assert memory.has_room(model) == fits


def test_on_other_devices_nothing_is_known():
    assert not memory.has_room(nn.Linear(2, 2, device=torch.device("meta")))


def test_a_system_that_does_not_tell_is_trusted(monkeypatch):
    def fails(name):
        raise ValueError(name)

    monkeypatch.setattr(memory.os, "sysconf", fails)
    assert memory.has_room(nn.Linear(2, 2))
