"""What can be compared is found wherever a model may put it."""

from collections import namedtuple
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_prune.compaction.verification.leaves import is_finite_number, leaves_of

T = torch.ones(2)
Pair = namedtuple("Pair", "first second")


@dataclass
class Result:
    value: Any
    width: int


@pytest.mark.parametrize(
    ("output", "leaves"),
    [
        (3, [3]),
        ((1, "a", None, 2.5, True), [1, "a", 2.5, True]),
        ({"width": 8}, [8]),
        (Pair(1, 2), [1, 2]),
        (Result(4, 8), [4, 8]),
        (torch.Size([2, 3]), [2, 3]),
        (np.array(["a", "b"]), ["['a', 'b']"]),
        (MappingProxyType({"width": 8}), [8]),
        (SimpleNamespace(time=3), []),
        (nn.Linear(2, 2), []),
        (nn.Linear, []),
        (None, []),
    ],
    ids=str,
)
def test_numbers_and_words_in_plain_containers_are_found(output, leaves):
    assert leaves_of(output) == leaves


@pytest.mark.parametrize(
    "output",
    [
        T,
        (T,),
        {"a": [T]},
        Result(T, 2),
        SimpleNamespace(inside=SimpleNamespace(t=T)),
        T.to_sparse(),
    ],
)
def test_tensors_are_found_wherever_they_are(output):
    assert torch.equal(leaves_of(output)[0], T)


@pytest.mark.parametrize("value", [np.ones(2, np.float32), np.float64(2.0), np.arange(3)])
def test_arrays_are_compared_as_tensors(value):
    assert torch.equal(leaves_of(value)[0], torch.as_tensor(value))


def test_an_object_that_holds_itself_is_looked_at_once():
    loop = SimpleNamespace(t=T)
    loop.loop = loop
    assert len(leaves_of(loop)) == 1


@pytest.mark.parametrize("leaf", [T, torch.tensor([torch.nan, 1.0]), 2.5, T.cfloat()])
def test_finite_real_numbers_prove_something(leaf):
    assert is_finite_number(leaf)


@pytest.mark.parametrize("leaf", [T.int(), T * torch.nan, T[:0], 3, "a", float("inf")])
def test_others_prove_nothing(leaf):
    assert not is_finite_number(leaf)
