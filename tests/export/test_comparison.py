from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.export.comparison import largest_error
from lightning_prune.formats.program import Exportable


class Net(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


X = torch.tensor([[1.0, -4.0], [0.0, 3.0]])


def exportable(model: nn.Module | None = None, x: Tensor = X) -> Exportable:
    return Exportable.of(Net() if model is None else model, x)


def test_the_error_is_over_the_scale_of_the_output() -> None:
    def off(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        # One batch alone is wrong: the one of three rows, of which the largest output is 8.
        return [inputs["x"] * 2 + (0.4 if len(inputs["x"]) == 3 else 0)]

    assert largest_error(exportable(), off) == pytest.approx(0.4 / 8)
    assert largest_error(exportable(), lambda inputs: [inputs["x"] * 2]) == 0.0


def test_batches_and_values_differ_but_signs_and_zeros_stay() -> None:
    seen: list[Tensor] = []

    def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        seen.append(inputs["x"])
        return [inputs["x"] * 2]

    largest_error(exportable(), run)
    assert [len(x) for x in seen] == [2, 2, 1, 3]
    assert torch.equal(seen[0], X)
    assert torch.equal(seen[1].sign(), X.flip(0).sign())
    assert not torch.equal(seen[1], X.flip(0))


def test_whole_numbers_keep_their_values() -> None:
    seen: list[Tensor] = []

    def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        seen.append(inputs["x"])
        return [inputs["x"] * 2]

    largest_error(exportable(x=torch.tensor([[1, 2], [3, 4]])), run)
    assert seen[1].tolist() == [[3, 4], [1, 2]]


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_infinities_and_what_is_no_number_have_to_be_the_same(value: float) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0, value, x)

    right = exportable(Odd())
    assert largest_error(right, lambda inputs: [right.model(inputs["x"])]) == 0.0
    error = largest_error(right, lambda inputs: [inputs["x"]])
    assert not error <= 1.0


def test_outputs_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sizes \[\(2, 1\)\] instead of \[\(2, 2\)\]"):
        largest_error(exportable(), lambda inputs: [inputs["x"][:, :1]])


def test_what_is_calibrated_is_compared_on_its_batches() -> None:
    seen: list[Tensor] = []

    def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        seen.append(inputs["x"])
        return [inputs["x"] * 2]

    batches = [X + 1, X[:1]]
    assert largest_error(Exportable.of(Net(), X, batches), run, calibrated=True) == 0.0
    assert all(map(torch.equal, seen, batches))
