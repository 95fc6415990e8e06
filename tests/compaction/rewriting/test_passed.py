"""An attribute that functions hand on is told where it can be nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.compaction.rewriting.passed import passed_attribute
from lightning_prune.coupling.couple import couple


def copied(x: Tensor, times: int) -> Tensor:
    return x[:, None].expand(-1, times, -1)


def counted(x: Tensor, times: int) -> Tensor:
    times = times + 0
    return x[:, None].expand(-1, times, -1)


def by_place(module: Net, x: Tensor) -> Tensor:
    return copied(x, module.times)


def by_name(module: Net, x: Tensor) -> Tensor:
    return copied(x, times=module.times)


def through_two(module: Net, x: Tensor) -> Tensor:
    return by_place(module, x)


def of_itself(module: Net, x: Tensor) -> Tensor:
    return x[:, None].expand(-1, module.times, -1)


def in_a_list(module: Net, x: Tensor) -> Tensor:
    return copied(*[x, module.times])


def from_a_sum(module: Net, x: Tensor) -> Tensor:
    return copied(x, module.times + 0)


def changed_on_the_way(module: Net, x: Tensor) -> Tensor:
    return counted(x, module.times)


def caught(x: Tensor, times: int) -> Tensor:
    try:
        return x[:, None].expand(-1, times, -1)
    except TypeError as times:
        raise ValueError from times


def perhaps_changed(module: Net, x: Tensor) -> Tensor:
    return caught(x, module.times)


def of_another_module(module: Net, x: Tensor) -> Tensor:
    return by_place(module.inner, x)


def of_a_new_name(module: Net, x: Tensor) -> Tensor:
    module = module.inner
    return copied(x, module.times)


def by_a_local_name(module: Net, x: Tensor) -> Tensor:
    function = copied
    return function(x, module.times)


class Net(nn.Module):
    def __init__(self, function=None) -> None:
        super().__init__()
        self.layer, self.times, self.functions = nn.Linear(4, 4), 3, [function]
        self.inner = None if function is None else Net()

    def forward(self, x: Tensor) -> Tensor:
        function = self.functions[0]
        return self.layer(x) + function(self, x).sum(1)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        *((function, "times") for function in (by_place, by_name, through_two, of_itself)),
        *(
            (function, None)
            for function in (
                in_a_list,
                from_a_sum,
                changed_on_the_way,
                perhaps_changed,
                of_another_module,
                of_a_new_name,
                by_a_local_name,
            )
        ),
    ],
)
def test_it_is_the_attribute_that_was_handed_on(function, name) -> None:
    graph = couple(Net(function), torch.randn(2, 4)).traces.traces[0].graph
    (node,) = (node for node in graph if node.name == "aten::expand")
    assert passed_attribute(node.site, 1) == name
    assert passed_attribute(node.site, 0) is None
