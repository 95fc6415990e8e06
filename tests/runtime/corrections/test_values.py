"""Numbers are told from tensors, also where a trace shows both as tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from lightning_prune.runtime.corrections.values import is_tensor, is_whole

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of its tracer


@pytest.mark.parametrize("value", [1, 1.5, True, None, (1, 2), "a"], ids=repr)
def test_what_is_no_tensor(value: Any) -> None:
    assert not is_tensor(value)


def test_tensors_without_a_trace() -> None:
    assert is_tensor(torch.ones(2))
    assert is_tensor(torch.tensor(3))


def test_whole_numbers() -> None:
    assert is_whole(3)
    assert not any(map(is_whole, (True, 3.0, None, "a")))


class Asks(nn.Module):
    """Asks of a value in a forward pass whether it is a tensor."""

    def __init__(self, value: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.value = value
        self.layer = nn.Linear(4, 6)
        self.register_buffer("three", torch.tensor(3))
        self.factor = nn.Parameter(torch.tensor(2.0))
        self.answers: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        z = self.layer(x)
        self.answers.append(is_tensor(self.value(self, z)))
        return z


def answers(value: Callable[[Any, Tensor], Any]) -> list[bool]:
    """Without a trace, and in one."""
    net, x = Asks(value), torch.randn(2, 4)
    net(x)
    torch.jit.trace(net, x, check_trace=False)
    return net.answers


VALUES: dict[str, tuple[Callable[[Any, Tensor], Any], bool]] = {
    "a size": (lambda s, z: z.shape[-1], False),
    "another": (lambda s, z: z.size(0), False),
    "the number of elements": (lambda s, z: z.numel(), False),
    "a product": (lambda s, z: math.prod(z.shape), False),
    "a half": (lambda s, z: z.shape[-1] // 2, False),
    "a power": (lambda s, z: z.shape[-1] ** -0.5, False),
    "a reciprocal": (lambda s, z: 1 / z.shape[-1], False),
    "what is left": (lambda s, z: -(5 - z.shape[-1] % 4), False),
    "a root": (lambda s, z: math.sqrt(z.shape[-1]), False),
    "activations": (lambda s, z: z, True),
    "a sum": (lambda s, z: z.detach().sum(), True),
    "a count": (lambda s, z: (z > 0).sum(), True),
    "a buffer": (lambda s, z: s.three, True),
    "a parameter": (lambda s, z: s.factor, True),
    "a buffer and a size": (lambda s, z: s.three * z.shape[-1], True),
    "a new tensor": (lambda s, z: torch.tensor(5), True),
    "a new tensor and a size": (lambda s, z: torch.tensor(5) * z.shape[-1], True),
    "the tensor of a size": (lambda s, z: torch.tensor(z.shape[-1]), True),
    "of as many elements": (lambda s, z: torch.arange(z.shape[-1]).sum(), True),
}


@pytest.mark.parametrize(("value", "expected"), VALUES.values(), ids=VALUES)
def test_a_trace_changes_nothing(value: Any, expected: bool) -> None:
    assert answers(value) == [expected, expected]


def test_sizes_in_a_trace_are_whole() -> None:
    class Whole(Asks):
        def forward(self, x: Tensor) -> Tensor:
            self.answers += [is_whole(x.shape[0] * 2), is_whole(x.shape[0] / 2)]
            return x

    net = Whole(lambda *_: None)
    torch.jit.trace(net, torch.randn(2, 4), check_trace=False)
    assert net.answers == [True, False]


def test_symbols_are_refused_and_not_guessed() -> None:
    with pytest.raises(TypeError, match=r"but got a Proxy of torch.fx, .* Use torch.export"):
        fx.symbolic_trace(Asks(lambda s, z: z))
