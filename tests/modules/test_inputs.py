"""Example inputs in one form, and the tensors that a model returns."""

import dataclasses
import enum
import pickle
from collections import UserDict
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import (
    Call,
    ExampleInputs,
    examples_of,
    output_tensors,
)
from lightning_prune.modules.nesting import tensors_in

X = torch.randn(4, 3)

FORMS = {
    "tensor": (X, (X,), {}),
    "tuple": ((X, 1), (X, 1), {}),
    "list of one": ([X], (X,), {}),
    "dict": ({"x": X}, (), {"x": X}),
    "mapping": (UserDict(x=X), (), {"x": X}),
    "object": (SimpleNamespace(x=X), (SimpleNamespace(x=X),), {}),
}


@pytest.mark.parametrize(("given", "args", "kwargs"), FORMS.values(), ids=FORMS)
def test_every_form_becomes_arguments(given, args, kwargs):
    inputs = ExampleInputs.of(given)
    assert (inputs.args, inputs.kwargs) == (args, kwargs)
    assert ExampleInputs.of(inputs) is inputs


def test_what_holds_no_tensor_is_refused():
    with pytest.raises(ExampleInputsError, match=r"Expected `example_inputs` .* int without"):
        ExampleInputs.of(3)


def test_a_call_names_the_method_with_its_arguments():
    call = Call("encode", X, scale=2)
    inputs = ExampleInputs.of(call)
    assert (inputs.method, inputs.args, inputs.kwargs) == ("encode", (X,), {"scale": 2})
    assert pickle.loads(pickle.dumps(call)).kwargs == {"scale": 2}
    with pytest.raises(dataclasses.FrozenInstanceError):
        call.method = "decode"


def test_a_call_runs_its_method_on_copies_too():
    class Model(nn.Module):
        def encode(self, x: Tensor, scale: int) -> Tensor:
            return x * scale

    inputs = ExampleInputs.of(Call("encode", X, scale=2)).map(torch.clone).narrowed(2)
    assert torch.equal(inputs(Model()), X[:2] * 2)


def test_a_call_may_take_no_tensor():
    inputs = ExampleInputs.of(Call("generate", 3))
    assert (inputs.tensors, inputs.batch_size) == ([], 1)


def test_a_list_holds_examples_and_a_tuple_arguments():
    several = examples_of([X, (X, 1), {"x": X}, Call("encode", X)])
    assert [(one.method, len(one.args)) for one in several] == [
        ("forward", 1),
        ("forward", 2),
        ("forward", 0),
        ("encode", 1),
    ]
    assert [one.args for one in examples_of((X, 1))] == [(X, 1)]


def test_an_empty_list_is_refused():
    with pytest.raises(ExampleInputsError, match="at least one example, but got an empty list"):
        examples_of([])


def test_several_examples_are_refused_where_one_is_asked_for():
    with pytest.raises(ExampleInputsError, match="to be one example, but got a list of 2"):
        ExampleInputs.of([X, X])


def test_all_tensors_are_found_in_any_nesting():
    inputs = ExampleInputs.of(({"a": [X]}, X[0]))
    assert [t.shape for t in inputs.tensors] == [(4, 3), (3,)]
    assert inputs.batch_size == 4


def test_tensors_in_objects_are_arguments_like_others():
    inputs = ExampleInputs.of((SimpleNamespace(x=X, size=4), X[:, 0]))
    narrow = inputs.narrowed(2)
    assert [tuple(t.shape) for t in narrow.tensors] == [(2, 3), (2,)]
    assert (narrow.args[0].size, inputs.args[0].x is X) == (4, True)


def test_only_what_shares_the_batch_is_narrowed():
    narrow = ExampleInputs.of((X, X[:3], torch.ones(()))).narrowed(2)
    assert [tuple(t.shape) for t in narrow.tensors] == [(2, 3), (3, 3), ()]


class Elsewhere(Tensor):
    """A tensor that says it is on an accelerator."""

    device = torch.device("cuda")  # type: ignore[assignment]


def test_what_edges_point_at_is_cut_on_a_cpu_alone():
    nodes, edges, inner = X, torch.tensor([[0, 1], [3, 2]]), torch.tensor([[0, 1], [1, 0]])
    assert ExampleInputs.of((nodes, edges)).narrowed(2).batch_size == 2
    there = [t.as_subclass(Elsewhere) for t in (nodes, edges, inner)]
    assert ExampleInputs.of((there[0], there[1])).narrowed(2).batch_size == 4
    assert ExampleInputs.of((there[0], there[2])).narrowed(2).batch_size == 2
    assert ExampleInputs.of((there[0], there[1][0].repeat(2))).narrowed(2).batch_size == 2


def test_a_small_batch_is_not_narrowed():
    inputs = ExampleInputs.of(X)
    assert inputs.narrowed(4) is inputs


def test_numbers_take_the_type_of_the_model_and_integers_stay():
    inputs = ExampleInputs.of((X, torch.arange(3))).on(nn.Linear(3, 1).double())
    assert [t.dtype for t in inputs.tensors] == [torch.float64, torch.int64]


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError, ZeroDivisionError, KeyError])
def test_whatever_the_model_raises_is_wrapped_with_the_shapes(kind):
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise kind("no")

    message = rf"`Broken.forward` takes, .*shape \(4, 3\) raised {kind.__name__}"
    with pytest.raises(ExampleInputsError, match=message) as caught:
        ExampleInputs.of(X)(Broken())
    assert isinstance(caught.value.__cause__, kind)


class Kind(enum.Enum):
    A = 1


@dataclass
class Answer:
    scores: Tensor
    inner: object = None
    kind: Kind = Kind.A


@dataclass
class Cache:
    keys: Tensor
    values: Tensor


OUTPUTS = {
    "tensor": (X, [X]),
    "nested": ({"b": [X, (X + 1,)]}, [X, X + 1]),
    "object": (Answer(X), [X]),
    "object_in_a_tuple": ((X + 1, Answer(X)), [X + 1, X]),
    "object_in_an_object": (Answer(X, Answer(X + 1)), [X, X + 1]),
    "object_with_keys_that_is_no_dictionary": (Cache(X, X + 1), [X, X + 1]),
    "distribution": (torch.distributions.Bernoulli(logits=X, validate_args=False), [X]),
    "complex": (torch.complex(X, X), [torch.complex(X, X)]),
    "nothing": (None, []),
    "text": ("yes", []),
    "model": (nn.Linear(2, 1), []),
}


@pytest.mark.parametrize(("output", "tensors"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_are_found(output, tensors):
    found = output_tensors(output)
    assert len(found) >= len(tensors)
    assert all(torch.equal(a, b) for a, b in zip(found, tensors, strict=False))


def test_integers_are_tensors_but_not_numbers_to_compare():
    output = {"label": X.argmax(1), "scores": X}
    assert len(tensors_in(output)) == 2
    assert len(output_tensors(output)) == 1


def test_an_output_that_holds_itself_is_searched_once():
    answer = Answer(X)
    answer.inner = answer
    assert len(tensors_in([answer, answer])) == 1


def test_rows_come_again_or_are_left_out_at_another_batch() -> None:
    inputs = ExampleInputs((torch.arange(3.0), torch.zeros(5)), {"mask": torch.ones(3, 2)})
    more, fewer = inputs.resized(7), inputs.resized(2)
    assert more.args[0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert more.kwargs["mask"].shape == (7, 2)
    assert fewer.args[0].tolist() == [0, 1]
    assert more.args[1].shape == fewer.args[1].shape == (5,)
    assert inputs.resized(3) is inputs


def test_inputs_without_a_batch_are_not_resized() -> None:
    with pytest.raises(ExampleInputsError, match=r"Pass inputs of 2 instead of `batch_size=2`"):
        ExampleInputs((torch.tensor(1.0),)).resized(2)
