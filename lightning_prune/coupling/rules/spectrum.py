"""Rules for Fourier transforms."""

from __future__ import annotations

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
