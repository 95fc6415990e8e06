"""A correction stands in only for a call of the very operation that it corrects."""

from __future__ import annotations

import ast
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import helping
from torch import Tensor, nn
from torch.nn.functional import layer_norm as norm

from lightning_prune.compaction.rewriting.call_site import CallSite, digest, sources_along
from lightning_prune.coupling.couple import couple
from lightning_prune.coupling.graph import Node
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import ArgumentPin, PinArguments, Resize, SizeFactor


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)
        self.width = 8

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        x = helping.folded(norm(x.mul_(2), (8,)), 8)
        x = F.softplus(torch.add(x, x, alpha=2), 3)
        x = torch.rsqrt(x) * 2
        parts = [part.exp() for part in x.view(x.shape[0], -1, self.width).split(1, 1)]
        x = torch.cat(parts, 1)
        return F.normalize(x, 2.0, -1) + self.layer.weight.sum()


@pytest.fixture(scope="module")
def nodes() -> dict[str, Node]:
    graph = couple(Net(), torch.randn(2, 3, 4)).traces.traces[0].graph
    found: dict[str, Node] = {}
    for node in graph:
        found.setdefault(node.name.removeprefix("aten::"), node)
    return found


def place(nodes: dict[str, Node], name: str) -> CallSite:
    return CallSite.of(Net, nodes[name])


def test_a_place_is_the_call_in_the_source(nodes):
    assert ast.unparse(place(nodes, "view").expression) == "x.view(x.shape[0], -1, self.width)"
    assert ast.unparse(place(nodes, "exp").expression) == "part.exp()"
    assert len(place(nodes, "exp").path) == 1
    folded = place(nodes, "reshape")
    assert ast.unparse(folded.expression) == "x.flatten(1).reshape(x.shape[0], -1, width)"
    assert folded.source.function is helping.folded
    assert len(folded.path) == 2


def test_an_operation_without_a_site_has_no_place():
    node = Node(torch.ops.aten.relu.default, (), {}, None, "")
    with pytest.raises(RewriteError, match="code without source"):
        CallSite.of(Net, node)


@pytest.mark.parametrize("name", ["layer_norm", "reshape", "view", "split", "mul", "softplus"])
def test_a_call_of_the_operation_can_be_corrected(nodes, name):
    correction = Resize((SizeFactor(1, 1, 2),))
    assert place(nodes, name).fitting(correction) == correction


@pytest.mark.parametrize("name", ["linalg_vector_norm", "clamp_min"])
def test_a_call_of_something_larger_cannot(nodes, name):
    if name not in nodes:
        pytest.skip("torch computes it in another way")
    with pytest.raises(RewriteError, match=r"part of what F.normalize does"):
        place(nodes, name).fitting(PinArguments((ArgumentPin(1, 2, "ord", 1),)))


def test_the_place_of_a_number_is_that_in_the_call(nodes):
    pins = PinArguments((ArgumentPin(1, 2, "other", 1),))
    first = PinArguments((ArgumentPin(1, 2, "other", 0),))
    assert place(nodes, "mul").fitting(pins) == first
    assert place(nodes, "softplus").fitting(pins) == pins


def test_an_attribute_is_told_by_the_place_of_the_size(nodes):
    view = place(nodes, "view")
    assert [view.attribute(index) for index in range(4)] == [None, None, "width", None]
    assert place(nodes, "reshape").attribute(2) is None


def test_digests_tell_sources_apart(nodes):
    view, reshape = place(nodes, "view"), place(nodes, "reshape")
    assert view.digest == digest(sources_along(Net, "forward", ()))
    assert reshape.digest == digest(sources_along(Net, "forward", reshape.path[:-1]))
    assert view.digest != reshape.digest


class Other(nn.Module):
    def forward(self, x: Any) -> Any:
        return x


def test_the_source_must_be_that_of_what_ran(nodes):
    with pytest.raises(RewriteError, match=r"Net.forward is not what its caller names"):
        CallSite.of(Other, nodes["view"])
