"""The report of a comparison."""

import math

import pytest

import lightning_prune as lp
from lightning_prune.pruning.comparing.comparison import Tried

VALUES = [2.0, math.nan, 1.0, 1.0, math.inf]


def comparison(values=VALUES, **options):
    trials = tuple(Tried(lp.Random(i), lp.Uniform(), v, 0.5) for i, v in enumerate(values))
    return lp.Comparison(trials, 0.5, **options)


@pytest.mark.parametrize(("higher", "index"), [(False, 2), (True, 4)])
def test_the_first_of_the_best_wins(higher, index):
    assert comparison(higher_is_better=higher).best_index == index
    assert comparison(VALUES[:4], higher_is_better=True).best_index == 0


def test_what_is_no_number_is_the_worst():
    for higher in (True, False):
        assert comparison([math.nan, 3.0], higher_is_better=higher).best.value == 3.0


def test_prints_the_best_first_and_what_was_not_tried():
    head, names, _, *rows, last = str(comparison([2.0, 1.0], untried=("Wanda()",))).splitlines()
    assert head == "loss on held-out data, 0.5000 before; the best first"
    assert names.split() == ["criterion", "allocation", "loss", "seconds"]
    assert [row.split()[0] for row in rows] == ["Random(seed=1)", "Random(seed=0)"]
    assert [row.split()[-2:] for row in rows] == [["1.0000", "0.5"], ["2.0000", "0.5"]]
    assert last == "no time was left for Wanda()"


def test_one_line_tells_all_values():
    line = comparison([2.0, 1.0]).line()
    assert line.startswith("chosen by the loss on held-out data: 1.0000 Random(seed=1) with Unif")
    assert ", 2.0000 Random(seed=0) with Uniform(" in line


def test_plots_a_bar_for_each_trial():
    pytest.importorskip("matplotlib")
    axes = comparison([0.75, 0.625]).plot()
    assert [bar.get_width() for bar in axes.patches] == [0.625, 0.75]
    assert axes.get_xlabel() == "loss after pruning"
