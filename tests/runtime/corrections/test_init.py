"""Every correction is data that JSON holds, and is checked when it is read."""

import ast
import json
import pickle

import pytest
import torch

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import (
    KINDS,
    ZERO,
    ArgumentPin,
    Cases,
    CutBounds,
    GiveBack,
    KeepTerm,
    PadWidth,
    Pick,
    Pin,
    PinArguments,
    ReadRows,
    Recut,
    Refill,
    Renarrow,
    Repad,
    RescaleMean,
    Resize,
    Resplit,
    ScaleAttention,
    SizeFactor,
    SquareCentred,
    TensorOf,
    Unchanged,
    Unseen,
    WidenGroupNorm,
    WidenLayerNorm,
    WidenRMSNorm,
    correction_from_json,
)

EXAMPLES = [
    Resize((SizeFactor(1, 1, 2), SizeFactor(0, 1, 0))),
    Resplit((2, 3)),
    Repad((PadWidth(4, 1),)),
    Cases((((2.5,), Pin(5.0, 2.5)), ((4,), None))),
    Recut((CutBounds(1, 2, 0, 4),)),
    Renarrow(1, 2),
    Pin(8**0.5, 4),
    PinArguments((ArgumentPin(2, 1, "other", 0),)),
    TensorOf(2, 1),
    RescaleMean(0.5),
    ScaleAttention(8**-0.5),
    WidenLayerNorm(8),
    WidenRMSNorm(8),
    WidenGroupNorm(8),
    KeepTerm(1, True),
    Pick(False, 1, 4, (0, 2)),
    Refill(True, 3, 8, (0, 5)),
    SquareCentred(False, (3, 1), 4, 8),
    GiveBack(("tuple", ("tensor",), None, ("dict", ("a", ("argument", 0))))),
    GiveBack(ZERO),
    ReadRows(("up", "down"), (0, 2), 4),
    Unchanged(),
    Unseen(),
]
OF_CALLERS = (Unchanged, Unseen)
"""These look at no call, and have no values."""

every = pytest.mark.parametrize("correction", EXAMPLES, ids=str)
every_of_a_call = pytest.mark.parametrize(
    "correction", [one for one in EXAMPLES if not isinstance(one, OF_CALLERS)], ids=str
)


def test_there_is_an_example_of_every_kind():
    assert {type(correction) for correction in EXAMPLES} == set(KINDS.values())
    assert all(KINDS[correction.kind] is type(correction) for correction in EXAMPLES)


@every
def test_it_travels_through_json(correction):
    assert correction_from_json(json.loads(json.dumps(correction.to_json()))) == correction


@every
def test_it_is_hashed_and_pickled_as_data(correction):
    again = pickle.loads(pickle.dumps(correction))
    assert again == correction
    assert hash(again) == hash(correction)


@every_of_a_call
def test_it_fits_no_other_expression(correction):
    with pytest.raises(RewriteError, match="does not fit"):
        correction.wrap("name", ast.parse("x if y else z", mode="eval").body)


@every_of_a_call
def test_it_goes_with_no_correction_of_another_kind(correction):
    own = {type(correction), *([Pin] if isinstance(correction, Cases) else [])}
    others = [one for one in EXAMPLES if type(one) not in own]
    assert all(correction.then(other) is None for other in others)


@every_of_a_call
def test_values_that_are_missing_or_too_many_are_refused(correction):
    data = correction.to_json()
    with pytest.raises(ValueError, match="Expected the values of"):
        correction_from_json({**data, "more": 1})
    with pytest.raises(ValueError, match="Expected the values of"):
        correction_from_json({"kind": data["kind"]})


@every
def test_values_of_another_type_are_refused(correction):
    data = correction.to_json()
    for name in data.keys() - {"kind"}:
        for value in ({"a": 1}, "x", [["x"]], [[1]], object(), float("nan"), 2**60):
            with pytest.raises(ValueError, match="Expected"):
                correction_from_json({**data, name: value})


@pytest.mark.parametrize("data", [None, 3, [], {}, {"kind": None}, {"kind": []}, {"kind": "eval"}])
def test_what_is_no_correction_is_refused(data):
    with pytest.raises(ValueError, match="Expected a correction to be one of"):
        correction_from_json(data)


def test_a_call_goes_through_the_correction():
    node = ast.parse("x.reshape(2, 24)", mode="eval").body
    wrapped = Resize((SizeFactor(1, 1, 2),)).wrap("resize", node)
    code = compile(ast.fix_missing_locations(ast.Expression(wrapped)), "", "eval")
    names = {"x": torch.zeros(24), "resize": Resize((SizeFactor(1, 1, 2),))}
    assert eval(code, names).shape == (2, 12)
