from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from lightning_prune.callbacks.trainer.ranks import failing_together, ranks_agree


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


def receiving(received: Exception | None) -> Any:
    return SimpleNamespace(strategy=SimpleNamespace(broadcast=lambda mine: received))


def test_a_failure_on_rank_zero_is_raised_here() -> None:
    with pytest.raises(OSError, match="no space"), failing_together(receiving(OSError("no space"))):
        pass


def test_where_nothing_fails_nothing_is_raised() -> None:
    done = []
    with failing_together(receiving(None)):
        done.append(1)
    assert done
