"""Every correction holds where a compact model is traced, exported and compiled, at any size."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import onnx.reference
import pytest
import torch
import torch.nn.functional as F
from support.oracle import halved
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.compaction.records import plan_of
from lightning_prune.runtime.corrections import KINDS
from lightning_prune.runtime.swaps import SWAPS

# Torch warns of its tracer, of sizes that become constants, and of the exporter.
pytestmark = pytest.mark.filterwarnings("ignore")


def made(forward: Callable[[Any, Tensor], Tensor], **layers: Callable[[], nn.Module]) -> nn.Module:
    """A net of a class with this method, whose source is corrected."""

    def build(self: nn.Module) -> None:
        nn.Module.__init__(self)
        for name, layer in layers.items():
            setattr(self, name, layer())

    kind: Any = type("Net", (nn.Module,), {"__init__": build, "forward": forward})
    net: nn.Module = kind()
    return net


def linear(inputs: int, outputs: int) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(inputs, outputs)


class Parameter(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))


def reshape(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    B, N, C = z.shape  # noqa: N806 as everybody writes it
    return self.last(z.reshape(B * N, C).tanh().view(B, N, 8))


def filled(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    return self.last(torch.cat([torch.zeros(z.shape[0], 1, 8), z, z.new_ones(z.shape[0], 1, 8)], 1))


def expanded(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    return self.last(torch.cat([self.cls.weight.expand(z.shape[0], 1, 8), z], 1))


def split(self: Any, x: Tensor) -> Tensor:
    a, b = self.first(x).split(5, -1)
    c, d = torch.split(self.first(x), [3, 5], dim=-1)
    return self.last(torch.cat([a.relu(), b.tanh()], -1) + torch.cat([c, d.relu()], -1))


def cut(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    return self.last(torch.cat([z[..., :5].relu(), z[..., 5:].tanh()], -1))


def cut_at_a_size(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    end = z.shape[1] - 1
    return self.last(torch.cat([z[:, end, :5].relu(), z[:, end, 5:].tanh()], -1))


def cut_in_a_loop(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    parts = [z[..., 4 * i : 4 * (i + 1)] for i in range(2)]
    return self.last(torch.cat([parts[0].relu(), parts[1].tanh()], -1))


def divided_in_a_loop(self: Any, x: Tensor) -> Tensor:
    both = [one / one.size(-1) ** 0.5 for one in (self.first(x).relu(), self.other(x).tanh())]
    return self.last(both[0]) + self.end(both[1])


def padded(self: Any, x: Tensor) -> Tensor:
    z, y = self.first(x).relu(), self.wide(x)
    before = z.shape[-1] // 2
    return self.last(y + nn.functional.pad(z, (before, y.shape[-1] - z.shape[-1] - before)))


def narrow(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    return self.last(torch.cat([z.narrow(-1, 0, 5).relu(), torch.narrow(z, -1, 5, 3).tanh()], -1))


def mean_by_hand(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    return self.last(z * (z.sum(-1, keepdim=True) / z.shape[-1]))


def root(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    return self.last(z * z.shape[-1] ** -0.5 / math.sqrt(z.size(-1)))


def of_two_sizes(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    return self.last(z) * (z.sum() / z.shape[-1] / z.shape[0]) / z.numel()


def beside_tensors(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    doubled = torch.tensor(2) * z.shape[-1]
    return self.last(z * (doubled / z.shape[-1])) + doubled


def in_place(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    y = self.last(z)
    y /= z.size(-1)
    return y


def arguments(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    return self.last(torch.div(z, z.shape[-1]).mul(z.shape[-1] ** 0.5))


def tensor_of(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    return self.last(z / torch.tensor(z.shape[-1]).sqrt())


def mean(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).relu()
    return self.last(z * z.pow(2).mean(-1, keepdim=True))


def single_head(self: Any, x: Tensor) -> Tensor:
    return self.last(F.scaled_dot_product_attention(self.q(x), self.k(x), self.first(x)))


def picked(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    return self.last(z + torch.linspace(-1.0, 1.0, 8))


def refilled(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    return self.last(z * torch.amax(z, -1, keepdim=True))


def square_centred(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    return self.last(z * (z - z.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True))


def heads(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    B, N, C = z.shape  # noqa: N806
    q, k, v = self.qkv(z).reshape(B, N, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
    return self.last(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, C))


def layer_norm(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    return self.last(F.layer_norm(z, (8,), self.norm.weight) + self.norm(z))


def group_norm(self: Any, x: Tensor) -> Tensor:
    z = self.first(x).transpose(1, 2)
    both = F.group_norm(z, 1, self.norm.weight) + self.norm(z)
    return self.last(both.transpose(1, 2))


def rms_norm(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    return self.last(F.rms_norm(z, (8,), self.norm.weight) + self.norm(z))


def attention(self: Any, x: Tensor) -> Tensor:
    z = self.first(x)
    return self.last(self.attention(z, z, z)[0] + self.with_key(z, z, z, need_weights=False)[0])


def encoder(self: Any, x: Tensor) -> Tensor:
    return self.last(self.encoder(self.first(x)))


def shortcut(self: Any, x: Tensor) -> Tensor:
    x = x + self.dead(x)
    return self.last(x + self.alive(x))


def shortcuts(self: Any, x: Tensor) -> Tensor:
    for block in (self.dead, self.alive):
        x = x + block(x)
    return self.last(x)


def attend(**options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.MultiheadAttention(8, 4, batch_first=True, **options)


def branch() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))


def encode() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=True)


BODY = {"first": linear(6, 8), "last": linear(8, 3)}
PLAIN = [
    (reshape, "resize"),
    (filled, "resize"),
    (split, "resplit"),
    (cut, "recut"),
    (cut_at_a_size, "recut"),
    (cut_in_a_loop, "cases"),
    (narrow, "renarrow"),
    (mean_by_hand, "pin"),
    (root, "pin"),
    (of_two_sizes, "pin"),
    (beside_tensors, "pin"),
    (in_place, "pin"),
    (arguments, "pin_arguments"),
    (tensor_of, "tensor_of"),
    (mean, "rescale_mean"),
    (picked, "pick"),
    (refilled, "refill"),
    (square_centred, "square_centred"),
]
NETS: dict[str, tuple[Any, dict[str, Any], set[str]]] = {
    **{forward.__name__: (forward, BODY, {kind}) for forward, kind in PLAIN},
    "padded": (padded, BODY | {"wide": linear(6, 16), "last": linear(16, 3)}, {"repad"}),
    "divided in a loop": (
        divided_in_a_loop,
        BODY | {"other": linear(6, 12), "end": linear(12, 3)},
        {"cases"},
    ),
    "expanded": (expanded, BODY | {"cls": lambda: Parameter(1, 1, 8)}, {"resize"}),
    "single head": (
        single_head,
        BODY | {"q": linear(6, 8), "k": linear(6, 8)},
        {"scale_attention"},
    ),
    "heads": (heads, BODY | {"qkv": linear(8, 24)}, {"resize"}),
    "layer norm": (
        layer_norm,
        BODY | {"norm": lambda: nn.LayerNorm(8)},
        {"widen_layer_norm", "widen_norm"},
    ),
    "group norm": (
        group_norm,
        BODY | {"norm": lambda: nn.GroupNorm(1, 8)},
        {"widen_group_norm", "widen_norm"},
    ),
    "RMS norm": (
        rms_norm,
        BODY | {"norm": lambda: nn.RMSNorm(8)},
        {"widen_rms_norm", "widen_norm"},
    ),
    "attention": (
        attention,
        BODY | {"attention": attend(), "with_key": attend(add_bias_kv=True)},
        {"size_by_tensors"},
    ),
    "encoder": (encoder, BODY | {"encoder": encode}, {"encode_by_tensors", "size_by_tensors"}),
    "shortcut": (
        shortcut,
        {"dead": branch, "alive": branch, "last": linear(6, 3)},
        {"keep_term"},
    ),
    "shortcuts": (
        shortcuts,
        {"dead": branch, "alive": branch, "last": linear(6, 3)},
        {"give_back"},
    ),
}
UNDER_2_6 = {
    "cut_at_a_size": "torch 2.6 does not export the masked model, either",
    "cut_in_a_loop": "the compiler of torch 2.6 raises where calls are told apart by their numbers",
}
SIZES = [(4, 5, 6), (3, 7, 6)]
"""The first one is traced."""


def compacted(name: str) -> tuple[nn.Module, nn.Module]:
    """The masked net and the compact one."""
    forward, layers, kinds = NETS[name]
    net = made(forward, **layers).eval()
    x = torch.randn(SIZES[0])
    if hasattr(net, "dead"):
        with torch.no_grad():
            for parameter in net.dead.parameters():  # type: ignore[union-attr]
                parameter.zero_()
    else:
        net = halved(net, (x,))
    small = copy.deepcopy(net)
    lp.compact(small, x, latency=False)
    plan = plan_of(small)
    found = {edit.correction.kind for edits in plan.edits.values() for edit in edits}
    assert kinds <= found | {swap.kind for swap in plan.swaps.values()}
    return net, small


def assert_same(masked: nn.Module, other: Callable[[Tensor], Tensor]) -> None:
    for size in SIZES:
        x = torch.randn(size)
        with torch.no_grad():
            torch.testing.assert_close(other(x), masked(x), rtol=1e-5, atol=1e-5)


def test_every_kind_is_here() -> None:
    elsewhere = {"read_rows"}  # tests/granularities/test_expert.py
    elsewhere |= {"unchanged", "unseen"}  # tests/compaction/repair/test_findings.py
    assert {*KINDS, *SWAPS} - elsewhere == set().union(*(kinds for _, _, kinds in NETS.values()))


@pytest.mark.parametrize("name", NETS)
def test_traced(name: str) -> None:
    masked, small = compacted(name)
    assert_same(masked, small)
    assert_same(masked, torch.jit.trace(small, torch.randn(SIZES[0]), check_trace=False))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_exported_to_onnx_by_tracing(name: str) -> None:
    masked, small = compacted(name)
    file = io.BytesIO()
    axes = {"x": {0: "batch", 1: "length"}}
    inputs = (torch.randn(SIZES[0]),)
    torch.onnx.export(
        small, inputs, file, dynamo=False, input_names=["x"], dynamic_axes=axes, opset_version=18
    )
    run = onnx.reference.ReferenceEvaluator(onnx.load_from_string(file.getvalue())).run
    assert_same(masked, lambda x: torch.from_numpy(run(None, {"x": x.numpy()})[0]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_exported_and_compiled(name: str) -> None:
    if name in UNDER_2_6 and torch.__version__.startswith("2.6"):
        pytest.skip(UNDER_2_6[name])
    masked, small = compacted(name)
    shapes = ({0: torch.export.Dim("batch", min=2), 1: torch.export.Dim("length", min=2)},)
    program = torch.export.export(
        small, (torch.randn(SIZES[0]),), dynamic_shapes=shapes, strict=False
    )
    assert_same(masked, program.module())
    torch._dynamo.reset()
    assert_same(masked, torch.compile(small, backend="eager", fullgraph=True))
    torch._dynamo.reset()
