"""The balanced recipe: less work at little loss, and what is left is fitted to the data."""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal, get_args

from lightning_prune.allocations import Uniform
from lightning_prune.arguments import check_choice, check_flags, check_integer, check_positive
from lightning_prune.callbacks import Compaction, Distillation, Pruning
from lightning_prune.callbacks.trainer.namespaces import Callback
from lightning_prune.compensations import LeastSquares
from lightning_prune.criteria import Magnitude
from lightning_prune.schedules import Cubic, OneShot, Schedule

Cost = Literal["macs", "latency", "parameters"]

_SHORT = 10
"""Trainings of fewer epochs are cut once: in so few, no update recovers before the next one."""


def balanced(
    speedup: float = 2.0,
    *,
    epochs: int | None = None,
    of: Cost = "macs",
    distillation: bool = False,
    path: str | PathLike[str] | None = None,
    example_inputs: Any = None,
) -> list[Callback]:
    """Return callbacks that prune channels for a speed-up and keep the accuracy.

    Channels go by magnitude, the same fraction of every layer and never more than nine tenths of
    one (`Uniform`): gradually over the first half of the training (`Cubic`), or all at once after
    a tenth of it (`OneShot`) if it has fewer than ten epochs. After every update what reads them is
    fitted to the data (`LeastSquares`), and the statistics of batch norms are renewed. The rest of
    the training recovers. At the end the model is compacted and verified.

    Args:
        speedup: how many times fewer multiply-adds, milliseconds or parameters, more than 1.
        epochs: the Trainer's ``max_epochs``, at least 1; ``None`` = not known, but ten or more.
        of: what becomes less: ``"macs"``, ``"latency"``, measured where the training runs, or
            ``"parameters"``.
        distillation: also learn from the outputs of the dense model, for classifiers.
        path: where to write the compact model, usually ``*.safetensors``; ``None`` = nowhere.
        example_inputs: as in `Pruning`.

    Returns:
        For the ``callbacks`` of a Trainer, in this order.

    Raises:
        ValueError: if a number is out of range, or ``of`` none of its words.
        TypeError: if an argument is of another type.

    Examples:
        >>> [type(callback).__name__ for callback in balanced(2.0, epochs=20)]
        ['Pruning', 'Compaction']
    """
    check_positive("speedup", speedup, "It is how many times fewer multiply-adds there are, say.")
    if speedup <= 1.0:
        raise ValueError(
            f"Expected `speedup` to be more than 1, but got {speedup!r}. Write 2.0 for half of the "
            "multiply-adds."
        )
    if epochs is not None:
        check_integer("epochs", epochs, 1, "It is the Trainer's `max_epochs`.")
    check_choice("of", of, get_args(Cost), "It is what becomes less.")
    check_flags(distillation=distillation)
    pruning = Pruning(
        1.0 - 1.0 / speedup,
        Magnitude(),
        schedule=_schedule(epochs),
        allocation=Uniform(max_sparsity=0.9),
        of=of,
        compensation=LeastSquares(),
        example_inputs=example_inputs,
    )
    teacher = [Distillation(temperature=1.0)] if distillation else []
    return [pruning, *teacher, Compaction(path=path, example_inputs=example_inputs)]


def _schedule(epochs: int | None) -> Schedule:
    """Return when channels go, in a training of so many epochs."""
    if epochs is None:
        return Cubic(start=0.0, end=0.5, every=0.05)
    if epochs < _SHORT:
        return OneShot(at=0.1)
    return Cubic(start_epoch=1, end_epoch=epochs // 2)
