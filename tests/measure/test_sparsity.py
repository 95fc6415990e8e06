from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_prune.measure.sparsity import Sparsity, measure_sparsity


class Transfers(TorchDispatchMode):
    """Counts what makes the host wait for a value."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def half_sparse() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model[0].weight[0] = 0.0
    return model


def test_zeros_are_counted_by_parameter_and_in_all() -> None:
    sparsity = measure_sparsity(half_sparse())
    assert sparsity.parameters == {"0.weight": 0.5, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}
    assert (sparsity.zeros, sparsity.elements) == (4, 4 * 2 + 2 + 2 * 3 + 3)
    assert sparsity.total == 4 / 19


def test_parameters_with_few_dimensions_can_be_left_out() -> None:
    sparsity = measure_sparsity(half_sparse(), min_ndim=2)
    assert list(sparsity.parameters) == ["0.weight", "1.weight"]
    assert sparsity.total == 4 / (4 * 2 + 2 * 3)


@pytest.mark.parametrize(
    ("value", "fraction"), [(0.0, 1.0), (-0.0, 1.0), (1e-45, 0.0), (float("nan"), 0.0)]
)
def test_only_exact_zeros_count(value: float, fraction: float) -> None:
    model = nn.Linear(2, 2, bias=False)
    nn.init.constant_(model.weight, value)
    assert measure_sparsity(model).total == fraction


def test_integers_and_buffers_are_left_out() -> None:
    model = nn.BatchNorm1d(3, affine=False)
    model.register_parameter("index", nn.Parameter(torch.zeros(3, dtype=torch.int64), False))
    sparsity = measure_sparsity(model)
    assert sparsity == Sparsity({}, zeros=0, elements=0)
    assert sparsity.total == 0.0


def test_an_empty_parameter_holds_no_zeros() -> None:
    model = nn.Module()
    model.register_parameter("empty", nn.Parameter(torch.zeros(0, 3)))
    assert measure_sparsity(model).parameters == {"empty": 0.0}


def test_tied_parameters_count_once() -> None:
    model = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    model[1].weight = model[0].weight
    assert measure_sparsity(model).elements == 4


def test_names_of_compiled_modules_are_plain() -> None:
    model = nn.Sequential(torch.compile(nn.Linear(2, 2)), torch.compile(nn.Linear(2, 2)))
    assert list(measure_sparsity(model, min_ndim=2).parameters) == ["0.weight", "1.weight"]


def test_values_leave_the_device_together() -> None:
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(10)])
    with Transfers() as transfers:
        measure_sparsity(model)
    # A stacked result is read by the memory of one tensor, not scalar by scalar.
    assert transfers.count == 0


def test_a_sparsity_prints_as_a_table() -> None:
    assert str(Sparsity({"conv.weight": 0.25}, zeros=1, elements=4)).splitlines() == [
        "parameter    exact zeros",
        "-----------  -----------",
        "conv.weight       0.2500",
        "total             0.2500",
    ]


def test_a_negative_number_of_dimensions_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `min_ndim` to be an integer of at least 0"):
        measure_sparsity(nn.Linear(2, 2), min_ndim=-1)


def test_modules_are_chosen_by_patterns() -> None:
    assert list(measure_sparsity(half_sparse(), include=["1"]).parameters) == ["1.weight", "1.bias"]
    assert list(measure_sparsity(half_sparse(), exclude=["1"]).parameters) == ["0.weight", "0.bias"]
    nested = nn.ModuleDict({"teacher": half_sparse(), "student": half_sparse()})
    counted = measure_sparsity(nested, include=["*.0"], exclude=["teacher"])
    assert list(counted.parameters) == ["student.0.weight", "student.0.bias"]


def test_parameters_of_the_model_itself_belong_to_no_pattern_but_the_star() -> None:
    model = half_sparse()
    model.register_parameter("scale", nn.Parameter(torch.ones(1)))
    assert "scale" in measure_sparsity(model, exclude=["0"]).parameters
    assert "scale" not in measure_sparsity(model, include=["0"]).parameters
    assert "scale" in measure_sparsity(model, include=["*"]).parameters


def test_names_of_compiled_modules_are_matched_plainly() -> None:
    model = nn.Sequential(torch.compile(nn.Linear(2, 2)), nn.Linear(2, 2))
    assert list(measure_sparsity(model, include=["0"], min_ndim=2).parameters) == ["0.weight"]


@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_a_pattern_that_names_no_module_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `{argument}` to be glob patterns.*'2'"):
        measure_sparsity(half_sparse(), **{argument: ["2"]})
    with pytest.raises(TypeError, match=f"Expected `{argument}` to be a list.*Write \\['0'\\]"):
        measure_sparsity(half_sparse(), **{argument: "0"})
