"""The callbacks of a recipe prune as asked, together."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from support.fits import Validated, data, make_trainer

import lightning_prune as lp
from lightning_prune import recipes


@pytest.mark.parametrize(
    "options", [{"epochs": 12}, {"epochs": 6}, {}, {"distillation": True}], ids=str
)
def test_what_is_asked_for_is_reached_in_the_first_half(options: dict[str, Any]) -> None:
    model = Validated("AdamW")
    dense = lp.count_macs(model, next(iter(data()))[0])
    callbacks = recipes.balanced(1.6, **options)
    epochs = options.get("epochs", 6)
    make_trainer(*callbacks, epochs=epochs).fit(model, data(), data())
    pruning, compaction = callbacks[0], callbacks[-1]
    assert isinstance(pruning, lp.Pruning)
    assert isinstance(compaction, lp.Compaction)
    assert pruning.progress.done == pruning.schedule.last
    steps = 1 if pruning.schedule.period == "epoch" else 4
    assert pruning.schedule.last / steps <= epochs / 2
    small = lp.count_macs(model, next(iter(data()))[0])
    assert dense / small == pytest.approx(1.6, rel=0.25)  # of layers with six and eight channels
    assert isinstance(pruning.recipe.compensation, lp.LeastSquares)
    assert compaction.report is not None
    assert compaction.report.removed > 0


def test_a_short_training_is_cut_once() -> None:
    def schedule(epochs: int) -> lp.Schedule:
        pruning = recipes.balanced(2.0, epochs=epochs)[0]
        assert isinstance(pruning, lp.Pruning)
        return pruning.schedule

    assert schedule(9) == lp.OneShot(at=0.1)
    assert schedule(10) == lp.Cubic(start_epoch=1, end_epoch=5)


def test_what_becomes_less_may_be_parameters() -> None:
    pruning = recipes.balanced(4.0, of="parameters")[0]
    assert isinstance(pruning, lp.Pruning)
    assert pruning.recipe.sparsity == 0.75
    assert pruning.recipe.of == "parameters"


def test_every_call_returns_callbacks_of_its_own() -> None:
    one, other = recipes.balanced(), recipes.balanced()
    assert not {id(callback) for callback in one} & {id(callback) for callback in other}
    assert [type(callback) for callback in copy.deepcopy(one)] == [lp.Pruning, lp.Compaction]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"speedup": 1.0}, "`speedup` to be more than 1"),
        ({"speedup": -2.0}, "`speedup`"),
        ({"epochs": 0}, "`epochs`"),
        ({"of": "units"}, "`of`"),
        ({"distillation": "dense"}, "`distillation`"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        recipes.balanced(**options)
