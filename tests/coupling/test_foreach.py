"""Operations on lists of tensors are seen as operations on one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.coupling.couple import couple
from lightning_prune.coupling.record import record
from lightning_prune.coupling.rules import RULES
from lightning_prune.modules.inputs import ExampleInputs

CALLS: dict[str, Any] = {
    "mul": lambda a, b: torch._foreach_mul(a, 2.0),
    "mul, lists": lambda a, b: torch._foreach_mul(a, b),
    "mul, numbers": lambda a, b: torch._foreach_mul(a, [2.0, 3.0]),
    "mul, a tensor": lambda a, b: torch._foreach_mul(a, torch.tensor(2.0)),
    "add": lambda a, b: torch._foreach_add(a, b, alpha=0.1),
    "sub": lambda a, b: torch._foreach_sub(a, b),
    "div": lambda a, b: torch._foreach_div(a, b),
    "lerp": lambda a, b: torch._foreach_lerp(a, b, 0.1),
    "lerp, lists": lambda a, b: torch._foreach_lerp(a, b, [t.abs() for t in b]),
    "addcmul": lambda a, b: torch._foreach_addcmul(a, b, b, 0.5),
    "addcmul, without a value": lambda a, b: torch._foreach_addcmul(a, b, b),
    "addcdiv, numbers": lambda a, b: torch._foreach_addcdiv(a, b, b, [0.5, 2.0]),
    "sqrt": lambda a, b: torch._foreach_sqrt([t.abs() for t in a]),
    "pow": lambda a, b: torch._foreach_pow(a, 2),
    "norm": lambda a, b: torch._foreach_norm(a),
    "in place": lambda a, b: torch._foreach_mul_(a, 2.0) or a,
    "copied": lambda a, b: torch._foreach_copy_(a, b) or a,
    "zero": lambda a, b: torch._foreach_zero_(a) or a,
}


class Calling(nn.Module):
    def __init__(self, call: Any) -> None:
        super().__init__()
        self.call = call
        self.seen: list[Tensor] = []

    def forward(self, a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
        self.seen = list(self.call(a, b))
        return self.seen


@pytest.mark.parametrize("name", CALLS)
def test_each_element_is_seen_alone_and_the_results_are_the_same(name: str) -> None:
    def inputs() -> tuple[list[Tensor], list[Tensor]]:
        generator = torch.Generator().manual_seed(0)
        a, b = ([torch.randn(n, 2, generator=generator).double() for n in (3, 4)] for _ in range(2))
        return a, b

    model = Calling(CALLS[name])
    graph = record(model, ExampleInputs(inputs()), RULES.__contains__)
    assert not [node for node in graph if "foreach" in node.name]
    for seen, expected in zip(model.seen, CALLS[name](*inputs()), strict=True):
        torch.testing.assert_close(seen.clone(), expected)


def test_what_is_known_of_lists_only_is_frozen() -> None:
    model = Calling(lambda a, b: torch._foreach_maximum(a, 0.0))
    graph = record(model, ExampleInputs(([torch.randn(2)], [])), RULES.__contains__)
    assert [node.name for node in graph] == ["aten::_foreach_maximum"]


class Following(nn.Module):
    """An average of weights follows the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.average = nn.Linear(3, 8), nn.Linear(3, 8).requires_grad_(False)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            mine, its = list(self.body.parameters()), list(self.average.parameters())
            torch._foreach_mul_(its, 0.9)
            torch._foreach_add_(its, mine, alpha=0.1)
        return self.head(self.body(x).relu()) - self.head(self.average(x).relu())


def test_an_average_by_lists_goes_with_what_it_follows() -> None:
    (group,) = couple(Following(), torch.randn(2, 3)).groups
    assert group.units == 8
    tied = {member.axis.tensor for member in group.members}
    assert {"body.weight", "body.bias", "average.weight", "average.bias", "head.weight"} == tied
