from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_prune.callbacks.trainer.example_inputs import (
    TrainingExamples,
    examples_in_training,
    find_example_inputs,
    require_example_inputs,
    require_forward_inputs,
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


class Lit(L.LightningModule):
    """A batch holds two inputs, of which ``forward`` takes their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0] + batch[1]).sum()


BATCH = [torch.ones(2, 3), torch.ones(2, 3)]


def calls_of(found: TrainingExamples) -> list[tuple[str, bool]]:
    return [(call.method, call.measured) for call in found.calls]


def test_steps_are_coupled_beside_what_they_call_forward_with() -> None:
    found = examples_in_training(None, Lit(), BATCH)
    assert calls_of(found) == [("forward", True), ("training_step", False)]
    assert torch.equal(found.calls[0].tensors[0], torch.full((2, 3), 2.0))
    assert torch.equal(
        require_forward_inputs(None, Lit(), BATCH).tensors[0], torch.full((2, 3), 2.0)
    )


@pytest.mark.parametrize("is_array", [False, True], ids=["explicit", "array"])
def test_what_is_given_for_forward_wins_and_steps_are_coupled_all_the_same(is_array: bool) -> None:
    model, given = Lit(), torch.zeros(5, 3)
    model.example_input_array = given if is_array else BATCH[0]
    found = examples_in_training(None if is_array else given, model, BATCH)
    assert calls_of(found) == [("forward", True), ("training_step", False)]
    assert found.calls[0].batch_size == 5


def test_a_step_that_is_given_is_not_added_again() -> None:
    found = examples_in_training([X, Call("training_step", BATCH, 0)], Lit(), BATCH)
    assert calls_of(found) == [("forward", True), ("training_step", True)]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (True, [("forward", True), ("training_step", False)]),
        (False, [("training_step", True)]),
    ],
    ids=["runs", "does not run"],
)
def test_where_no_step_calls_forward_the_front_of_the_batch_may_serve(
    runs: bool, expected: Any
) -> None:
    class Net(Lit):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if runs else x[0, 0])

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.layer(batch[0]).sum()

    assert calls_of(examples_in_training(None, Net(), BATCH)) == expected


def test_a_training_step_that_cannot_be_recorded_is_named() -> None:
    class Net(Lit):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            raise KeyError("no")

        def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
            raise KeyError("neither")

    with pytest.warns(UserWarning, match="The training step of Net is not coupled .* KeyError"):
        found = examples_in_training(None, Net(), BATCH)
    assert calls_of(found) == [("forward", True)]
    assert found.calls[0].tensors[0].data_ptr() == BATCH[0].data_ptr()


def test_calls_are_kept_in_the_memory_of_the_cpu_without_graphs() -> None:
    batch = [2 * tensor.clone().requires_grad_() for tensor in BATCH]
    for call in examples_in_training(None, Lit(), batch).calls:
        assert [(t.requires_grad, t.device.type) for t in call.tensors] == [
            (False, "cpu") for _ in call.tensors
        ]
