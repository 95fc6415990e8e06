import ast
import json

import pytest
import torch

from lightning_prune.runtime.corrections import (
    ArgumentPin,
    Cases,
    CutBounds,
    Pin,
    PinArguments,
    Recut,
    Resize,
    SizeFactor,
    TensorOf,
    correction_from_json,
    numbers_given,
    places_of,
)

LAST = 2**47
FIRST = Recut((CutBounds(1, 2, 0, 3),))
REST = Recut((CutBounds(1, 2, 3, 5),))
SLICES = Cases((((0, 4), FIRST), ((4, LAST), REST), ((8, 12), None)))


def test_a_slice_is_corrected_by_its_bounds():
    x = torch.arange(24).view(2, 12)
    assert torch.equal(x[SLICES[:, 0:4]], x[:, 0:3])
    assert torch.equal(x[SLICES[:, :4]], x[:, 0:3])
    assert torch.equal(x[SLICES[:, 4:]], x[:, 3:5])
    assert torch.equal(x[SLICES[:, 8:12]], x[:, 8:12])


def test_other_bounds_than_were_seen_raise():
    with pytest.raises(RuntimeError, match=r"got \(0, 5\). Compact the model of full size"):
        SLICES[:, 0:5]


def test_sizes_of_the_input_do_not_matter():
    cases = Cases((((4,), Resize((SizeFactor(1, 1, 2),))), ((6,), None)))
    for rows in (1, 3):
        assert cases(torch.Tensor.view, torch.ones(2 * rows), rows, 4).shape == (rows, 2)
        assert cases(torch.Tensor.view, torch.ones(6 * rows), (rows, 6)).shape == (rows, 6)


def test_numbers_are_corrected_one_by_one():
    pin = Cases((((2.0,), Pin(4.0, 2.0)), ((3.0,), None)))
    assert (pin(2.0), pin(3.0)) == (4.0, 3.0)
    tensor = torch.ones(2)
    assert pin(tensor) is tensor
    made = Cases((((5,), TensorOf(8, 5)), ((8,), None)))
    assert (made(torch.tensor, 5).item(), made(torch.tensor, data=8).item()) == (8, 8)
    argument = Cases((((2,), PinArguments((ArgumentPin(2, 1, "n", 1),))), ((4,), None)))
    assert argument(lambda x, n: x * n, 3, 2) == argument(lambda x, n: x * n, 3, n=4) == 12


def test_it_wraps_what_its_corrections_wrap():
    node = ast.parse("x[:, i * w : (i + 1) * w]", mode="eval").body
    assert ast.unparse(SLICES.wrap("cases", node)) == "x[cases[:, i * w:(i + 1) * w]]"
    assert Cases((((4,), Resize((SizeFactor(1, 1, 2),))), ((6,), None))).calls == Resize.calls


def test_it_comes_back_from_a_file():
    data = json.loads(json.dumps(SLICES.to_json()))
    assert correction_from_json(data) == SLICES


@pytest.mark.parametrize(
    "cases",
    [
        (((0, 4), FIRST),),
        (((0, 4), None), ((4, 8), None)),
        (((0, 4), FIRST), ((4,), Pin(1, 2))),
        (((0, 4), FIRST), ((4, 8), Recut((CutBounds(0, 2, 0, 3),)))),
        ((("a", 4), FIRST), ((4, 8), REST)),
        ((0, FIRST), (1, REST)),
        (((0, 4), FIRST), ((4, 8), "recut")),
        [[0]],
        7,
    ],
    ids=str,
)
def test_cases_of_other_kinds_are_refused(cases):
    with pytest.raises(ValueError, match="Expected `cases`"):
        Cases(cases)


def test_a_second_correction_looks_at_what_the_first_passes_on():
    again = Recut((CutBounds(1, 2, 0, 1),))
    later = Cases((((0, 3), again), ((3, 5), None), ((8, 12), None)))
    assert SLICES.then(later) == Cases((((0, 4), again), ((4, LAST), REST), ((8, 12), None)))
    assert SLICES.then(Cases((((0, 3), again), ((3, 5), None)))) is None  # what of (8, 12)?


def test_numbers_are_corrected_twice():
    half, quarter = Resize((SizeFactor(1, 1, 2),)), Resize((SizeFactor(1, 1, 4),))
    first, later = Cases((((8,), half), ((6,), None))), Cases((((4,), half), ((6,), None)))
    assert first.then(later) == Cases((((8,), quarter), ((6,), None)))
    pins = Cases((((2.0,), Pin(4.0, 2.0)), ((3.0,), None)))
    assert pins.then(Pin(1.0, 2.0)) == Cases((((2.0,), Pin(4.0, 4.0)), ((3.0,), Pin(1.0, 2.0))))
    assert pins.then(FIRST) is None


def test_what_an_operation_is_given_is_what_a_call_is_given():
    assert numbers_given((1, 2), FIRST, {"dim": 1, "end": 2**63 - 1}) == (0, LAST)
    assert numbers_given((1, 2), FIRST, {"start": 4, "end": 8}) == (4, 8)
    assert numbers_given((1,), Resize((SizeFactor(1, 1, 2),)), {"size": [3, 4]}) == (4,)
    assert numbers_given((), TensorOf(1, 2), {"self": 8, "other": None}) == (8,)
    assert numbers_given((), TensorOf(1, 2), {"self": 8, "other": 3}) is None
    pins = PinArguments((ArgumentPin(2, 1, "n", 1),))
    assert numbers_given((("n", 1),), pins, {"n": 2.5}) == (2.5,)
    assert numbers_given((("n", 1),), pins, {}) is None


def test_places_are_those_of_all():
    sizes = [Resize((SizeFactor(1, 1, 2),)), Resize((SizeFactor(3, 1, 2),)), None]
    assert places_of(sizes) == (1, 3)
    assert places_of([FIRST, REST]) == (1, 2)
    assert places_of([FIRST, sizes[0]]) is None
