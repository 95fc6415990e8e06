"""What a model writes to as it is put in train or eval mode is found on a copy."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn
from typing_extensions import override

from lightning_prune.modules.mode_switches import has_own_switch, written_by_switches
from lightning_prune.modules.twin import clone, twin


class Scaled(nn.Module):
    """One weight is twice as large in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    @override
    def train(self, mode: bool = True) -> Self:
        if mode is not self.training:
            self.layer.weight.data.mul_(0.5 if mode else 2.0)
        return super().train(mode)


class Frozen(nn.Module):
    """Its norm stays in eval mode, and nothing is written."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    @override
    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.norm.eval()
        return self


def test_modules_of_torch_are_switched_by_torch() -> None:
    assert not has_own_switch(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    assert has_own_switch(nn.Sequential(Scaled()))


def test_what_is_written_is_named() -> None:
    assert written_by_switches(nn.Sequential(clone(Scaled()))) == {"0.layer.weight"}
    assert written_by_switches(Frozen()) == frozenset()


def test_twins_and_their_twins_have_their_own_of_what_is_written_and_share_the_rest() -> None:
    model = Scaled()
    before = model.layer.weight.clone()
    for copied in (twin(model), twin(twin(model))):
        copied.eval()
        assert copied.layer.weight.data_ptr() != model.layer.weight.data_ptr()
        assert copied.layer.bias.data_ptr() == model.layer.bias.data_ptr()
        assert torch.equal(copied.layer.weight, 2 * before)
    assert torch.equal(model.layer.weight, before)
