import pytest

from lightning_prune.compaction.repair.joining import StaleCall, join_calls, join_cuts
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import (
    ArgumentPin,
    Cases,
    CutBounds,
    Pin,
    PinArguments,
    Recut,
    Renarrow,
    Resize,
    SizeFactor,
)

FIRST = Recut((CutBounds(1, 2, 0, 3),))
REST = Recut((CutBounds(1, 2, 3, 5),))


def cut(correction: Recut, start: int, end: int) -> StaleCall:
    return StaleCall(correction, correction, {"dim": 1, "start": start, "end": end})


def test_equal_calls_need_one_correction() -> None:
    assert join_calls([cut(FIRST, 0, 4), cut(FIRST, 0, 4)], []) == FIRST


def test_a_size_that_torch_finds_is_right_for_those_that_were_right() -> None:
    inferred = Resize((SizeFactor(3, 1, 0),))
    stale = StaleCall(inferred, inferred, {"shape": [2, 5, 3, 4, 6]})
    right = [{"shape": [2, 5, 3, 4, 6]}]
    assert join_calls([stale], right) == inferred
    halved = Resize((SizeFactor(3, 1, 2),))
    with pytest.raises(RewriteError, match="one call serves several sizes"):
        join_calls([StaleCall(halved, halved, None)], right)


def test_their_numbers_tell_calls_apart() -> None:
    right = [{"dim": 1, "start": 8, "end": 12}]
    cases = (((0, 4), FIRST), ((4, 8), REST), ((8, 12), None))
    assert join_calls([cut(FIRST, 0, 4), cut(REST, 4, 8)], right) == Cases(cases)


@pytest.mark.parametrize(
    ("calls", "right"),
    [
        ([cut(FIRST, 0, 4), cut(REST, 0, 4)], []),
        ([cut(FIRST, 0, 4)], [{"dim": 1, "start": 0, "end": 4}]),
        ([cut(FIRST, 0, 4), StaleCall(REST, REST, None)], []),
        (
            [
                StaleCall(Renarrow(0, 1), Renarrow(0, 1), {}),
                StaleCall(Renarrow(1, 1), Renarrow(1, 1), {}),
            ],
            [],
        ),
    ],
    ids=["same numbers", "one is right", "no numbers", "no numbers to look at"],
)
def test_what_nothing_tells_apart_is_refused(calls: list[StaleCall], right: list) -> None:
    with pytest.raises(RewriteError, match="one call serves several sizes"):
        join_calls(calls, right)


def test_of_an_operator_one_number_is_corrected() -> None:
    def pinned(value: float) -> StaleCall:
        pins = (ArgumentPin(8.0, value, "other", 1), ArgumentPin(1.0, 2.0, "alpha", 2))
        return StaleCall(Pin(8.0, value), PinArguments(pins), {"other": value, "alpha": 1})

    cases = (((2.0,), Pin(8.0, 2.0)), ((4.0,), Pin(8.0, 4.0)))
    assert join_calls([pinned(2.0), pinned(4.0)], []) == Cases(cases)


def test_an_index_may_cut_two_dimensions() -> None:
    rows = Recut((CutBounds(0, 2, 0, 1),))
    assert join_cuts(rows, FIRST) == Recut((*rows.cuts, *FIRST.cuts))
    with pytest.raises(RewriteError, match="several sizes"):
        join_cuts(FIRST, REST)
