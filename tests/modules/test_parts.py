import logging
import re
import threading
import weakref
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from lightning_prune.modules.parts import everything_in, is_outside, parts

Pair = namedtuple("Pair", "first second")
MARK = object()


@dataclass(frozen=True)
class Record:
    value: Any


class Slotted:
    __slots__ = ("__private", "unset", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.__private = value


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value

    def method(self) -> None: ...


class Copies(Plain):
    def __deepcopy__(self, memo: Any) -> Any:
        return self


def closure(value: Any) -> Any:
    def use() -> Any:
        return value

    return use


def default(value: Any) -> Any:
    return lambda x=value, *, y=value: (x, y)


@pytest.mark.parametrize(
    ("holder", "labels"),
    [
        ([0, MARK], ["[1]"]),
        ((0, MARK), ["[1]"]),
        (deque([MARK]), ["[0]"]),
        ({MARK}, ["[0]"]),
        (Pair(1, MARK), ["[1]"]),
        ({"a": 1, "b": MARK}, ["['b']"]),
        ({MARK: MARK}, [".keys()[0]", ".values()[0]"]),
        (OrderedDict(a=MARK), ["['a']"]),
        (Record(MARK), [".value"]),
        (Slotted(MARK), ["._Slotted__private", ".value"]),
        (Plain(MARK), [".value"]),
        (closure(MARK), [".value"]),
        (default(MARK), [".__defaults__[0]", ".__kwdefaults__['y']"]),
        (partial(closure(MARK), MARK, k=MARK), [".func", ".args", ".keywords"]),
    ],
    ids=lambda value: re.sub(r"\W.*", "", str(value)) or type(value).__name__,
)
def test_parts_are_found_and_named(holder: Any, labels: list[str]) -> None:
    assert sorted(part.label for part in parts(holder)) == sorted(labels)


def test_bound_methods_hold_their_object() -> None:
    plain = Plain(1)
    assert [part.value for part in parts(plain.method)] == [Plain.method, plain]


def test_modules_name_what_they_register_as_their_users_do() -> None:
    module = nn.BatchNorm1d(2)
    module.inner, module.cache = nn.Linear(1, 1), [MARK]
    labels = [part.label for part in parts(module) if not part.label.startswith("._")]
    assert labels == [
        *(".weight", ".bias", ".running_mean", ".running_var", ".num_batches_tracked"),
        *(".inner", ".cache"),
    ]


@pytest.mark.parametrize(
    "holder",
    [
        *(1, "text", int, torch, torch.float32, torch.Size([1]), len, None),
        *(torch.zeros(3), weakref.ref(Plain(1)), np.zeros(3), logging.getLogger("x")),
        *(Copies([MARK]), lambda x: x, TensorDataset(torch.zeros(1))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_there_is_nothing_to_look_for_in(holder: Any) -> None:
    assert not list(parts(holder))


def test_a_variable_without_a_value_is_no_part() -> None:
    def use() -> Any:
        return later

    assert not list(parts(use))
    later = [MARK]
    assert [part.value for part in parts(use)] == [later]


def test_everything_is_found_once_in_circles_too() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model.cache = [closure({"mark": MARK}), model]
    found = list(everything_in(model))
    assert len({id(it) for it in found}) == len(found)
    assert all(any(it is wanted for it in found) for wanted in (MARK, model[0].weight))
    left_out = everything_in(model, without={id(model.cache)})
    assert not any(it is MARK for it in left_out)


@pytest.mark.parametrize(
    ("value", "outside"),
    [
        (Trainer(logger=False, accelerator="cpu", enable_progress_bar=False), True),
        (LightningDataModule(), True),
        (CSVLogger("logs"), True),
        (LightningOptimizer(torch.optim.SGD([torch.zeros(1)], 0.1)), True),
        (torch.optim.SGD([torch.zeros(1)], 0.1), False),
        (TensorDataset(torch.zeros(1)), True),
        (iter(DataLoader([1])), True),
        (RandomSampler([1]), True),
        (nn.Linear(1, 1), False),
        (threading.Lock(), False),
        ([], False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_trainers_and_data_are_outside(value: Any, outside: bool) -> None:
    assert is_outside(value) == outside


def test_what_is_sharded_is_part_of_the_model() -> None:
    sharded = torch.Tensor._make_wrapper_subclass(DTensor, (2,))
    assert not is_outside(sharded)
