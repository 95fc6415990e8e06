from typing import Any

import lightning as L
import pytest
import torch

from lightning_prune.callbacks.trainer.example_inputs import (
    find_example_inputs,
    require_example_inputs,
)
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import Call, ExampleInputs

X, Y = torch.zeros(2, 3), torch.ones(2)


def module(example_input_array: Any = None) -> L.LightningModule:
    pl_module = L.LightningModule()
    pl_module.example_input_array = example_input_array
    return pl_module


def same(found: list[ExampleInputs], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether one example has this structure and holds these very tensors, or views of them."""
    [one] = found
    expected = ExampleInputs(args, kwargs)
    pointers = [t.data_ptr() for t in one.tensors]
    return repr(one) == repr(expected) and pointers == [t.data_ptr() for t in expected.tensors]


@pytest.mark.parametrize(
    ("given", "args", "kwargs"),
    [
        (X, (X,), {}),
        ((X, Y), (X, Y), {}),
        ({"x": X}, (), {"x": X}),
    ],
    ids=["tensor", "tuple", "dict"],
)
def test_a_given_array_holds_the_arguments_of_forward(
    given: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert same(find_example_inputs(None, module(given), None), args, kwargs)
    assert same(find_example_inputs(given, module(), None), args, kwargs)


@pytest.mark.parametrize(
    ("batch", "argument"),
    [
        (X, X),
        ((X, Y), X),
        ([X, Y], X),
        ({"x": X, "y": Y}, {"x": X, "y": Y}),
        (({"x": X}, Y), {"x": X}),
        (((X, Y), Y), (X, Y)),
    ],
    ids=["tensor", "tuple", "list", "dict", "dict and target", "tuple and target"],
)
def test_the_front_of_a_batch_is_the_single_argument_of_forward(batch: Any, argument: Any) -> None:
    assert same(find_example_inputs(None, module(), batch), (argument,), {})


def test_an_explicit_argument_wins_over_the_array_and_the_array_over_the_batch() -> None:
    explicit, array, batch = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    assert same(find_example_inputs(explicit, module(array), batch), (explicit,), {})
    assert same(find_example_inputs(None, module(array), batch), (array,), {})


def test_tensors_of_a_batch_are_detached() -> None:
    x = torch.zeros(2, requires_grad=True) * 2
    found = find_example_inputs(None, module(), [x])
    assert not found[0].tensors[0].requires_grad


@pytest.mark.parametrize("batch", [None, [], ("text", X), 3], ids=["none", "empty", "text", "int"])
def test_a_batch_without_a_tensor_in_front_gives_nothing(batch: Any) -> None:
    assert find_example_inputs(None, module(), batch) == []


@pytest.mark.parametrize(
    ("batch", "found"), [(None, "no batch"), (("text", X), "a tuple without a tensor in front")]
)
def test_a_lack_of_inputs_names_the_cure(batch: Any, found: str) -> None:
    cure = "Set `example_input_array` on LightningModule, or pass `example_inputs=...`"
    with pytest.raises(ExampleInputsError, match=f"got {found}. {cure}"):
        require_example_inputs(None, module(), batch)


def test_inputs_that_exist_are_returned() -> None:
    assert same(require_example_inputs(None, module(), (X, Y)), (X,), {})


def test_a_list_given_explicitly_holds_several_examples() -> None:
    found = find_example_inputs([X, Call("encode", Y)], module(), None)
    assert [(one.method, one.tensors[0] is t) for one, t in zip(found, (X, Y), strict=True)] == [
        ("forward", True),
        ("encode", True),
    ]


def test_a_list_as_the_array_of_the_module_holds_positional_arguments_as_in_lightning() -> None:
    assert same(find_example_inputs(None, module([X, Y]), None), (X, Y), {})


def test_a_given_argument_without_a_tensor_is_refused() -> None:
    with pytest.raises(ExampleInputsError, match="Expected `example_inputs` to be a tensor"):
        find_example_inputs("text", module(), X)
