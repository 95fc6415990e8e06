from types import SimpleNamespace
from typing import Any

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.callbacks.trainer.masking import masks_in_force


class Other:
    def masks_in_force(self) -> int:
        return 7


def test_every_callback_with_masks_is_asked_whatever_its_class_and_place() -> None:
    for callbacks in ([object(), Other(), Pruning(0.5)], [Pruning(0.5), Other()]):
        trainer: Any = SimpleNamespace(callbacks=callbacks)
        assert masks_in_force(trainer) == [0, 7]  # in whatever order


def test_nobody_masks() -> None:
    trainer: Any = SimpleNamespace(callbacks=[object()])
    assert masks_in_force(trainer) == []
