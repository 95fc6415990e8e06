"""Trials: every candidate prunes the model for a moment, and is measured on held-out data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from lightning_prune.modules.shards import local
from lightning_prune.modules.twin import twin
from lightning_prune.pruning.choosing.chooser import Chooser
from lightning_prune.pruning.comparing.comparison import Comparison, Tried
from lightning_prune.pruning.compensating.mending import Calibration
from lightning_prune.pruning.masks import Masks


@contextmanager
def unchanged(model: nn.Module, masks: Masks) -> Iterator[None]:
    """Give a model its parameters, buffers and masks back afterwards.

    Args:
        model: any module.
        masks: those of it.

    Yields:
        Nothing.
    """
    kept = masks.kept
    tensors = [local(tensor.detach()) for tensor in (*model.parameters(), *model.buffers())]
    before = [tensor.clone() for tensor in tensors]
    try:
        yield
    finally:
        masks.keep(kept)
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)


def try_all(
    model: nn.Module,
    masks: Masks,
    choosers: Sequence[Chooser],
    cut: Callable[[Chooser], object],
    calibration: Calibration | None,
    seconds: float | None,
) -> Comparison:
    """Return what the model measures after the cut of each chooser; it stays as it is.

    Args:
        model: the model.
        masks: those of it.
        choosers: one for each candidate.
        cut: prunes the model by one of them, and mends it.
        calibration: has the judge.
        seconds: once they are over on any rank, no further candidate is tried; None for no limit.

    Raises:
        ValueError: if there is no judge.
    """
    if calibration is None or calibration.judge is None:
        raise ValueError(
            "Expected `criterion` to give scores itself where no data are held out, but got "
            f"{len(choosers)} candidates. Pass data and a loss, or one of the candidates."
        )
    judge, begin = calibration.judge, time.monotonic()

    def measured() -> float:
        judged = twin(model).eval()
        masks.apply_to_copy(judged)
        return judge(judged)

    dense = measured()
    trials: list[Tried] = []
    for chooser in choosers:
        start = time.monotonic()
        with unchanged(model, masks):
            cut(chooser)
            value = measured()
        recipe, end = chooser.recipe, time.monotonic()
        trials.append(Tried(recipe.criterion, recipe.allocation, value, end - start))
        late = torch.tensor([float(seconds is not None and end - begin > seconds)])
        if calibration.add_up(late) > 0:
            break
    untried = [c.recipe for c in choosers[len(trials) :]]
    names = tuple(f"{recipe.criterion} with {recipe.allocation}" for recipe in untried)
    return Comparison(tuple(trials), dense, names, judge.name, judge.higher_is_better)
