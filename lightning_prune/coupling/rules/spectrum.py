"""Rules for Fourier transforms and for complex numbers kept as pairs."""

from __future__ import annotations

from dataclasses import replace

from lightning_prune.coupling.graph import Node
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule


@rule("aten::_fft_r2c", "aten::_fft_c2r", "aten::_fft_c2c")
def transform(p: Propagation, node: Node) -> list[Planes]:
    # y[..., k] = sum over n of x[..., n] exp(-2 pi i k n / N)   ties: y.d ~ x.d for the other dims
    x = node.args[0]
    dims = {dim % len(p.shape(x)) for dim in node.argument("dim")}
    planes = p.fuse_all(p.planes(x), dims, "transformed along a labelled dimension")
    return [planes]


@rule("aten::view_as_complex")
def from_pairs(p: Propagation, node: Node) -> list[Planes]:
    # y[...] = x[..., 0] + i x[..., 1]   ties: y.d ~ x.d
    x = node.args[0]
    planes = p.fuse_all(p.planes(x), {len(p.shape(x)) - 1}, "real and imaginary parts")
    return [[replace(plane, ids=plane.ids.squeeze(-1)) for plane in planes]]


@rule("aten::view_as_real")
def to_pairs(p: Propagation, node: Node) -> list[Planes]:
    # y[..., 0], y[..., 1] = real x[...], imaginary x[...]   ties: y.d ~ x.d
    return [[replace(plane, ids=plane.ids.unsqueeze(-1)) for plane in p.planes(node.args[0])]]
