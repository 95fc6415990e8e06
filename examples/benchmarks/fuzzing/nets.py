"""Nets: one random net of each kind."""

from __future__ import annotations

from collections.abc import Callable

import torch
from fuzzing import heads, masked_nets, sequence_nets, shapes
from fuzzing.dice import CHANNELS, Dice, Draw, RandomNet
from fuzzing.grammar import Grammar
from fuzzing.layers import LAYOUTS, Layout, activation
from torch import nn


def _net(dice: Dice, layout: Layout, **weights: int) -> RandomNet:
    """Return a stem, a body of some families of pieces, and a random head."""
    grammar = Grammar(dice, layout, **weights)
    width, size = dice.width(), dice.between(4, 6)
    stem, body = grammar.chain(CHANNELS, width, 1), grammar.body(width, dice.between(1, 3))
    positioned = layout.name != "vectors"
    kinds = ["plain", "exposed", "auxiliary"] + ["pooled"] * 4 * positioned
    kind = dice.choose(*kinds, *["adaptive"] * 2 * bool(layout.spatial))
    sizes = (size + 2, size - 1, size + 3) if positioned else ()
    if kind == "pooled":
        how = dice.choose("mean", "max", "last", "flat")
        positions = size ** max(1, layout.spatial) if how == "flat" else 1
        head = nn.Linear(width * positions, CHANNELS)
        pooled = heads.Pooled(stem, body, head, dim=layout.dim, how=how)
        return RandomNet(pooled, layout.inputs, Draw(size=size), () if how == "flat" else sizes)
    model: nn.Module
    if kind == "adaptive":
        features = width * 2**layout.spatial
        head = nn.Linear(features, CHANNELS)
        model = heads.Adaptive(stem, body, head, features=features)
    elif kind == "auxiliary":
        first, second = layout.mix(dice, width, CHANNELS), layout.mix(dice, width, CHANNELS)
        model = heads.Auxiliary(stem, body, first, auxiliary=second)
    else:
        kinds_of_head = {"plain": heads.Plain, "exposed": heads.Exposed}
        model = kinds_of_head[kind](stem, body, layout.mix(dice, width, CHANNELS))
    return RandomNet(model, layout.inputs, Draw(size=size), sizes)


def chains(dice: Dice) -> RandomNet:
    """Layers, norms and activations in a row, in any layout."""
    return _net(dice, dice.choose(*LAYOUTS), chain=1)


def convolutions(dice: Dice) -> RandomNet:
    """Strided, grouped, depthwise, transposed and pooled, without and with padding."""
    width, size = dice.width(), 20
    found: list[nn.Module] = [nn.Conv2d(CHANNELS, width, 3, padding=dice.choose(0, 1))]
    for _ in range(dice.between(1, 3)):
        wider = dice.choose(width, 2 * width)
        layer = _convolution(dice, width, wider)
        width = wider if hasattr(layer, "weight") else width
        found.append(layer)
        if dice.chance(0.6):
            found.append(LAYOUTS[3].norm(dice, width))
        found.append(activation(dice))
    found += [nn.AdaptiveAvgPool2d(dice.choose(1, 2)), nn.Flatten(), nn.LazyLinear(CHANNELS)]
    model = nn.Sequential(*found)
    model.eval()(torch.randn(2, CHANNELS, size, size))
    return RandomNet(model, LAYOUTS[3].inputs, Draw(size=size), (size + 3, size - 1))


def _convolution(dice: Dice, width: int, wider: int) -> nn.Module:
    """Return a convolution from ``width`` to ``wider`` channels, or a pool of them."""
    bias, padding = dice.chance(0.7), dice.choose(0, 1)
    half = 2 if width % 2 == 0 else width
    return dice.choose(
        lambda: nn.Conv2d(width, wider, 3, padding=padding, bias=bias),
        lambda: nn.Conv2d(width, wider, 3, padding=padding, groups=half),
        lambda: nn.Conv2d(width, wider, 3, padding=padding, groups=width, bias=bias),
        lambda: nn.Conv2d(width, wider, 3, 2, padding=padding, bias=bias),
        lambda: nn.ConvTranspose2d(width, wider, 2, bias=bias),
        lambda: dice.choose(nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1), nn.Upsample(8)),
    )()


def streams(dice: Dice) -> RandomNet:
    """Several writers and several readers of one stream."""
    return _net(dice, dice.choose(*LAYOUTS), streams=3, chain=1)


def residuals(dice: Dice) -> RandomNet:
    """Shortcuts around branches."""
    return _net(dice, dice.choose(*LAYOUTS), residual=3, streams=1)


def tied(dice: Dice) -> RandomNet:
    """Weights that serve twice."""
    return _net(dice, dice.choose(*LAYOUTS), tied=3, residual=1, chain=1)


def views(dice: Dice) -> RandomNet:
    """Parts of channels, and functions of all channels."""
    return _net(dice, dice.choose(*LAYOUTS), views=3, residual=1, streams=1)


def reshaped(dice: Dice) -> RandomNet:
    """Channels and positions that are cut, joined, shifted and exchanged."""
    layout = LAYOUTS[3]
    grammar = Grammar(dice, layout, chain=1)
    width = dice.choose(4, 8)
    stem = nn.Sequential(grammar.chain(CHANNELS, dice.width()), nn.LazyConv2d(width, 1))
    head = nn.Sequential(activation(dice), grammar.chain(width, CHANNELS))
    if dice.chance(0.1):
        model: nn.Module = shapes.Indexed(stem, head, width=width)
    else:
        model = dice.choose(*shapes.PLAIN)(stem, head, width)
    model.eval()(torch.randn(1, CHANNELS, 4, 4))
    return RandomNet(model, layout.inputs, Draw(size=dice.choose(2, 4)), (6, 2, 8))


def untrained(dice: Dice) -> RandomNet:
    """Values that no weight writes, norms and maxima that are written out."""
    return _net(dice, dice.choose(*LAYOUTS), fixed=4, residual=1, chain=1)


def idle(dice: Dice) -> RandomNet:
    """Units that look constant on the example, and are not."""
    return _net(dice, dice.choose(*LAYOUTS), idle=3, chain=1, residual=1)


def functions(dice: Dice) -> RandomNet:
    """All kinds of operations between layers."""
    return _net(dice, dice.choose(*LAYOUTS), functions=4, residual=1)


def mixed(dice: Dice) -> RandomNet:
    """Everything."""
    weights = {"chain": 1, "streams": 2, "residual": 2, "tied": 1, "views": 2, "idle": 2}
    weights["functions"] = 2
    return _net(dice, dice.choose(*LAYOUTS), **weights)


KINDS: dict[str, Callable[[Dice], RandomNet]] = {
    build.__name__: build
    for build in (
        chains,
        convolutions,
        streams,
        residuals,
        tied,
        views,
        reshaped,
        idle,
        functions,
        mixed,
        masked_nets.masks,
        masked_nets.lengths,
        masked_nets.options,
        masked_nets.conditions,
        masked_nets.tokens,
        sequence_nets.attention,
        sequence_nets.multihead,
        sequence_nets.transformers,
        sequence_nets.recurrent,
        untrained,
    )
}
"""Every kind of net, by name. The number of a case says which one it is of."""
