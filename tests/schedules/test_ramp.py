from dataclasses import dataclass

from lightning_prune.schedules.ramp import Ramp


@dataclass(frozen=True)
class Late(Ramp):
    def ramp(self, progress: float, final: float) -> float:
        return 0.1 * final


def test_the_end_is_exact_whatever_the_curve():
    schedule = Late(start_epoch=0, end_epoch=7, every=3)
    assert [schedule.sparsity(e, 0.7) for e in (0, 6, 7)] == [0.1 * 0.7, 0.1 * 0.7, 0.7]
