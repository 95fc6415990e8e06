from types import SimpleNamespace
from typing import Any

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.callbacks.trainer.masking import masks_in_force


class Other:
    def masks_in_force(self) -> int:
        return 7


def test_every_callback_with_masks_is_asked_whatever_its_class() -> None:
    trainer: Any = SimpleNamespace(callbacks=[object(), Other(), Pruning(0.5)])
    assert masks_in_force(trainer) == [7, 0]


def test_nobody_masks() -> None:
    trainer: Any = SimpleNamespace(callbacks=[object()])
    assert masks_in_force(trainer) == []
