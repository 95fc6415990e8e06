from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from lightning_prune.callbacks.trainer.ranks import ranks_agree


class Net(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)


@pytest.mark.parametrize("other", [6, 7, 8])
def test_ranks_are_compared(other: int) -> None:
    def reduce(tensor: Tensor, reduce_op: str) -> Tensor:
        assert reduce_op == "max"
        return torch.maximum(tensor, torch.tensor([other, -other]))

    ranks: Any = SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce=reduce))
    assert ranks_agree(ranks, Net(), 7) == (other == 7)


def test_one_rank_agrees_with_itself() -> None:
    one: Any = SimpleNamespace(world_size=1)
    assert ranks_agree(one, Net(), 7)
