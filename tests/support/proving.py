"""What is proved of a function of channels of which the first two are constant, 0.5 and 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.compaction.constants.propagation import ConstantPropagation
from lightning_prune.coupling import couple
from support.nets import Net

WIDTH = 4
CONSTANT = torch.tensor([0.5, 0.0])


def net_of(function: Callable[[Net, Tensor], Tensor], spatial: bool, **parts: nn.Module) -> Net:
    """Return a net that applies a function to channels, along dimension 1 if spatial, else -1."""
    first: nn.Module = nn.Conv2d(3, WIDTH, 1) if spatial else nn.Linear(3, WIDTH)
    net = Net(lambda m, x: function(m, m.first(x)), first=first, **parts).double().eval()
    with torch.no_grad():
        net.first.weight[:2] = 0
        net.first.bias[:2] = CONSTANT
    return net


def proved(
    function: Callable[[Net, Tensor], Any],
    *shape: int,
    training: bool = False,
    **parts: nn.Module,
) -> Tensor:
    """Return what is proved of the result of a function, NaN where it varies.

    It is also held to what the net computes for some inputs.

    Args:
        function: of a net and its channels; tensors that it makes must have their type.
        shape: of the inputs, whose 3 channels lie along dimension 1 if there are 4.
        training: look at the pass in train mode.
        parts: of the net.
    """
    # The operation that comes last reads the result.
    net = net_of(lambda m, h: function(m, h).clone(), len(shape) == 4, **parts)
    x = torch.randn(shape, dtype=torch.float64)
    trace = couple(net, x).traces.traces[training]
    tensors = {name: p.detach() for name, p in net.named_parameters()}
    tensors |= dict(net.named_buffers())
    place = len(trace.graph.nodes) - 1
    (known,) = ConstantPropagation(trace, tensors).run({place})[place]
    if known is None:
        return torch.full(trace.graph[trace.graph.nodes[place].inputs[0]].shape, torch.nan)
    claims = known.numbers.double().masked_fill(known.varies, torch.nan)
    _refute(net.train(training), claims, shape)
    return claims


def _refute(net: nn.Module, claims: Tensor, shape: tuple[int, ...]) -> None:
    held = ~claims.isnan()
    for scale in (1.0, -30.0):
        with torch.no_grad():
            found = net(torch.randn(2, *shape[1:], dtype=torch.float64) * scale)
        torch.testing.assert_close(found.double()[held], claims[held], rtol=1e-9, atol=1e-9)


def channels(claims: Tensor, dim: int = -1) -> list[float | None]:
    """Return what is proved of each channel at all places, None where nothing is."""
    lines = claims.movedim(dim, 0).flatten(1)
    return [float(line[0]) if bool((line == line[0]).all()) else None for line in lines]
