"""A pass run for its shapes is recorded as one with numbers is, or not at all."""

import numpy as np
import pytest
import torch
from support.nets import Net
from support.tiny_zoo import ZOO
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_prune.coupling.modes import in_mode
from lightning_prune.coupling.record import record
from lightning_prune.coupling.rules import RULES
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.fast_paths import composite_operations
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.outlining import NumbersNeededError, Outlining, can_outline

X = torch.randn(2, 3)


def outlined(function, *inputs: Tensor, **parts):
    net = Net(function, **parts)
    example = ExampleInputs.of(inputs)
    return record(net, example, RULES.__contains__, outlining=Outlining())


@torch.library.custom_op("lightning_prune_tests::keep_positive", mutates_args=())
def keep_positive(y: Tensor) -> Tensor:
    return y[y[:, 0] > 0].clone()


def caught(y: Tensor) -> Tensor:
    try:
        return y if y.sum().item() > 0 else -y
    except BaseException:
        return y


READS = {
    "a number": lambda m, x: x * m.part(x).sum().item(),
    "a condition": lambda m, x: x if (m.part(x) > 0).any() else -x,
    "a list": lambda m, x: x * m.part(x).tolist()[0][0],
    "an array": lambda m, x: x * float(m.part(x).numpy()[0, 0]),
    "an array that numpy makes": lambda m, x: x * float(np.asarray(m.part(x))[0, 0]),
    "what may not take it": lambda m, x: torch.bernoulli(m.part(x).sigmoid())[:, :3] * x,
    "a size that another package makes": lambda m, x: x[: len(keep_positive(m.part(x)))],
    "an index": lambda m, x: x[m.part(x).argmax(1)],
    "a mask": lambda m, x: x[m.part(x)[:, 0] > 0],
    "a copy": lambda m, x: x * m.part(x).add_(1).clone()[0, 0].item(),
    "what was written to": lambda m, x: x.clone().copy_(m.part(x)[:, :3]).sum().item() * x,
    "where the largest lie": lambda m, x: (
        x + torch.gather(x, 1, F.max_pool1d(m.part(x), 2, return_indices=True)[1][:, :1])
    ),
    "what code of the model catches": lambda m, x: caught(m.part(x)),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_made_up_numbers_decide_nothing(read):
    with pytest.raises(NumbersNeededError):
        outlined(read, X, part=nn.Linear(3, 4))


def test_what_raises_on_made_up_numbers_is_run_with_numbers():
    with pytest.raises(NumbersNeededError):
        outlined(
            lambda m, x: torch.linalg.inv(m.part(x) * 0 + torch.eye(2)) @ x, X, part=nn.Linear(3, 2)
        )


def test_tables_that_outlive_the_run_hold_their_numbers():
    tables = {}

    def function(m, x):
        if "positions" not in tables:
            tables["positions"] = torch.cat([torch.arange(2.0).sigmoid(), torch.ones(2)])
        return m.part(x) + tables["positions"]

    outlined(function, X, part=nn.Linear(3, 4))
    expected = torch.cat([torch.arange(2.0).sigmoid(), torch.ones(2)])
    assert torch.equal(tables["positions"], expected)


def test_where_the_largest_lie_may_be_left_alone():
    graph = outlined(
        lambda m, x: F.max_pool1d(m.part(x), 2, return_indices=True)[0], X, part=nn.Linear(3, 4)
    )
    assert "aten::max_pool2d_with_indices" in [node.name for node in graph]


def test_numbers_that_are_not_made_up_may_decide():
    graph = outlined(
        lambda m, x: m.part(x) if x.sum().item() > -1e9 else x, X, part=nn.Linear(3, 4)
    )
    assert "aten::linear" in [node.name for node in graph]


def test_sizes_of_made_up_numbers_may_decide():
    graph = outlined(
        lambda m, x: torch.zeros_like(m.part(x), dtype=torch.bool).any().item() or m.part(x),
        X,
        part=nn.Linear(3, 4),
    )
    assert graph.nodes


def test_what_reads_made_up_numbers_reads_zeros():
    outlining = Outlining()
    outlining.follow([X])
    with composite_operations(), outlining:
        made = nn.Linear(3, 4)(X)
        result = made.exp()
    assert outlining.is_made_up(result)
    assert torch.equal(result, torch.ones(2, 4))


def test_what_depends_on_no_input_is_computed():
    outlining, layer, table = Outlining(), nn.Linear(3, 4), torch.rand(2, 3)
    outlining.follow([X])
    with composite_operations(), outlining:
        of_table = layer(table)
        merged = layer.weight @ layer.weight.mT
        made = nn.functional.linear(X, layer.weight * 2)
    assert torch.equal(of_table, layer(table))
    assert torch.equal(merged, layer.weight @ layer.weight.mT)
    assert [outlining.is_made_up(t) for t in (of_table, merged, made)] == [False, False, True]


def test_an_operation_that_fails_fails():
    with pytest.raises(ExampleInputsError, match="cannot be multiplied"):
        outlined(lambda m, x: m.part(x), X, part=nn.Linear(5, 4))


def test_fake_and_other_tensors_are_not_for_it():
    with torch.device("meta"):
        assert not can_outline(nn.Linear(3, 4), [])
    assert can_outline(nn.Linear(3, 4), [X])


@pytest.mark.parametrize("example", ZOO.values(), ids=ZOO.keys())
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_recording_is_that_with_numbers(example, training):
    model, inputs = example.build(), ExampleInputs.of(example.inputs())

    def recorded(outlining):
        with torch.random.fork_rng():
            copy = in_mode(model, training)
            return record(copy, inputs, RULES.__contains__, outlining=outlining)

    try:
        outline, whole = (recorded(outlining) for outlining in (Outlining(), None))
    except (NumbersNeededError, ExampleInputsError):
        pytest.skip("it needs numbers, or does not run in this mode")
    assert outline.is_same(whole)
