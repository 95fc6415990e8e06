"""The balanced recipe: less work, gradually, and what is left is fitted to the data."""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal, get_args

from lightning_prune.allocations import Uniform
from lightning_prune.arguments import check_choice, check_flags, check_integer, check_positive
from lightning_prune.callbacks import Compaction, Distillation, Pruning
from lightning_prune.callbacks.trainer.namespaces import Callback
from lightning_prune.compensations import LeastSquares
from lightning_prune.criteria import Magnitude
from lightning_prune.schedules import Cubic

Cost = Literal["macs", "latency", "parameters"]


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

    Channels go gradually over the first half of the training (`Cubic`), by magnitude, the same
    fraction of every layer and never more than nine tenths of one (`Uniform`). After every update
    what reads them is fitted to the data (`LeastSquares`), and the statistics of batch norms are
    renewed. The second half trains what is left. At the end the model is compacted and verified.

    It is made for trainings of ten epochs and more. In three epochs a single cut measured better:
    `Pruning` with the same options and an early `OneShot`.

    Args:
        speedup: how many times fewer multiply-adds, milliseconds or parameters, more than 1.
        epochs: the Trainer's ``max_epochs``, at least 4, for updates at the start of epochs;
            ``None`` = ten updates, at any step.
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
        check_integer("epochs", epochs, 4, "It is the Trainer's `max_epochs`.")
    check_choice("of", of, get_args(Cost), "It is what becomes less.")
    check_flags(distillation=distillation)
    schedule = Cubic(start=0.0, end=0.5, every=0.05)
    if epochs is not None:
        schedule = Cubic(start_epoch=1, end_epoch=max(2, epochs // 2))
    pruning = Pruning(
        1.0 - 1.0 / speedup,
        Magnitude(),
        schedule=schedule,
        allocation=Uniform(max_sparsity=0.9),
        of=of,
        compensation=LeastSquares(),
        example_inputs=example_inputs,
    )
    teacher = [Distillation(temperature=1.0)] if distillation else []
    return [pruning, *teacher, Compaction(path=path, example_inputs=example_inputs)]
