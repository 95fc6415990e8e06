from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from lightning_prune.callbacks.compaction.checks import (
    check_same,
    check_sizes_agree,
    forget_checkpoint,
    holds_same,
    refuse_full_size,
)
from lightning_prune.errors import PruningError, VerificationError


class Net(L.LightningModule):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.head = nn.Linear(width, 2)


@pytest.mark.parametrize(
    ("fn", "width", "refused"), [("fit", 3, True), ("fit", 2, False), ("test", 3, False)]
)
def test_only_a_training_needs_the_size_of_the_checkpoint(
    fn: str, width: int, refused: bool
) -> None:
    trainer: Any = SimpleNamespace(state=SimpleNamespace(fn=fn))
    checkpoint = {"state_dict": Net(width).state_dict() | {"other": "no tensor"}}
    if refused:
        with pytest.raises(ValueError, match=r"head.weight of \(2, 3\) for \(2, 2\)"):
            refuse_full_size(trainer, Net(), checkpoint)
    else:
        refuse_full_size(trainer, Net(), checkpoint)


def test_a_checkpoint_is_forgotten_where_there_is_one() -> None:
    connector = SimpleNamespace(_loaded_checkpoint={"state_dict": {}})
    forget_checkpoint(SimpleNamespace(_checkpoint_connector=connector))  # type: ignore[arg-type]
    assert connector._loaded_checkpoint == {}
    forget_checkpoint(SimpleNamespace())  # type: ignore[arg-type]


def test_ranks_of_different_sizes_are_refused() -> None:
    strategy = SimpleNamespace(reduce=lambda tensor, reduce_op: tensor + 1)
    trainer: Any = SimpleNamespace(world_size=2, strategy=strategy)
    with pytest.raises(PruningError, match="compact models of all ranks to have the same sizes"):
        check_sizes_agree(trainer, Net())
    strategy.reduce = lambda tensor, reduce_op: tensor
    check_sizes_agree(trainer, Net())


def test_what_is_no_number_is_the_same_as_itself() -> None:
    one, other = Net(), Net()
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        for net in (one, other):
            net.head.weight[0, 0] = float("nan")
    assert holds_same(one, other)
    check_same(one, other)
    with torch.no_grad():
        other.head.weight[1, 1] += 1.0
    assert not holds_same(one, other)
    with pytest.raises(VerificationError, match=r"got another head\.weight"):
        check_same(one, other)
    assert not holds_same(one, Net(3))
