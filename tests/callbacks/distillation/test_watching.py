from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.callbacks.distillation.watching import submodule, watching


class Net(nn.Module):
    """Works in place on its inputs, and returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, batch: dict[str, Tensor], *, scale: float = 1.0) -> dict[str, Any]:
        return {"logits": self.head(self.body(batch.pop("x").mul_(scale)))}


def test_inputs_are_those_from_before_the_call() -> None:
    net, x = Net(), torch.ones(2, 3)
    with watching(net, ["", "head"]) as watched:
        net({"x": x}, scale=5.0)
    (inputs,) = watched.inputs
    assert torch.equal(inputs.args[0]["x"], torch.ones(2, 3))
    assert inputs.kwargs == {"scale": 5.0}
    assert torch.equal(x, torch.full((2, 3), 5.0))


def test_outputs_are_the_very_ones_in_their_order() -> None:
    net = Net()
    with watching(net, ["", "head"]) as watched:
        returned = [net({"x": torch.randn(2, 3)}) for _ in range(2)]
    assert all(a is b for a, b in zip(watched.outputs[""], returned, strict=True))
    heads = watched.outputs["head"]
    assert all(a is b["logits"] for a, b in zip(heads, returned, strict=True))


def test_calls_in_another_grad_mode_are_not_seen() -> None:
    net = Net()
    with watching(net, ["head"]) as watched, torch.no_grad():
        net({"x": torch.randn(2, 3)})
    assert (watched.inputs, watched.outputs) == ([], {"head": []})
    with torch.no_grad(), watching(net, ["head"]) as watched:
        net({"x": torch.randn(2, 3)})
    assert len(watched.inputs) == len(watched.outputs["head"]) == 1


def test_nothing_stays_on_the_module() -> None:
    net = Net()
    with pytest.raises(RuntimeError, match="mine"), watching(net, ["head"]):
        raise RuntimeError("mine")
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_modules_are_found_with_and_without_the_marks_of_compilation() -> None:
    net = Net()
    inner = net.body
    net.body = torch.compile(net.body, backend="eager")  # type: ignore[assignment]
    assert submodule("module", net, "") is net
    assert submodule("module", net, "body") is net.body
    assert submodule("module", net, "body._orig_mod") is inner
    with pytest.raises(ValueError, match=r"Expected `output` to name modules of Net, .*'tail'"):
        submodule("output", net, "tail")
