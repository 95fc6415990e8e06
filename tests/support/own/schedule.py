"""A schedule: half of the way at one epoch, all of it at the next."""

from dataclasses import dataclass

from lightning_prune import Schedule
from lightning_prune.schedules.window import Window


@dataclass(frozen=True)
class TwoHalves(Schedule):
    """Remove half at an epoch, and the rest at the one after it."""

    epoch: int = 1

    @property
    def window(self) -> Window:
        return Window("epoch", (self.epoch,), self.epoch + 1)

    def level(self, due: int, final: float) -> float:
        return final if due > self.epoch else final / 2
