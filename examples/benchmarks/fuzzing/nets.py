"""Nets: one random net of each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fuzzing import heads, sequences, shapes
from fuzzing.dice import Dice, Draw, RandomNet
from fuzzing.grammar import Grammar
from fuzzing.layers import LAYOUTS, Layout, activation

CHANNELS = 3
"""Of inputs and outputs."""

_MASKS = ("full", "mixed", "one", "none")


def _net(dice: Dice, layout: Layout, **weights: int) -> RandomNet:
    """Return a stem, a body of some families of pieces, and a random head."""
    grammar = Grammar(dice, layout, **weights)
    width, size = dice.width(), dice.between(4, 6)
    stem, body = grammar.chain(CHANNELS, width, 1), grammar.body(width, dice.between(1, 3))
    positioned = layout.name != "vectors"
    kinds = ["plain", "exposed", "auxiliary"] + ["pooled"] * 4 * positioned
    kinds += ["adaptive"] * 2 * bool(layout.spatial)
    kind = dice.choose(*kinds)
    sizes: tuple[int, ...] = (size + 2, size - 1, size + 3) if positioned else ()
    model: nn.Module
    if kind == "pooled":
        how = dice.choose("mean", "max", "last", "flat")
        sizes = () if how == "flat" else sizes
        positions = size ** max(1, layout.spatial) if how == "flat" else 1
        head = nn.Linear(width * positions, CHANNELS)
        model = heads.Pooled(stem, body, head, dim=layout.dim, how=how)
    elif kind == "adaptive":
        features = width * 2**layout.spatial
        head = nn.Linear(features, CHANNELS)
        model = heads.Adaptive(stem, body, head, features=features)
    else:
        head = layout.mix(dice, width, CHANNELS)
        auxiliary = layout.mix(dice, width, CHANNELS)
        model = {
            "plain": lambda: heads.Plain(stem, body, head),
            "exposed": lambda: heads.Exposed(stem, body, head),
            "auxiliary": lambda: heads.Auxiliary(stem, body, head, auxiliary=auxiliary),
        }[kind]()
    return RandomNet(model, _values(layout), Draw(size=size), sizes)


def _values(layout: Layout) -> Callable[[Draw], tuple[Any, ...]]:
    def inputs(draw: Draw) -> tuple[Any, ...]:
        return (draw.values(*layout.shape(draw.batch, CHANNELS, draw.size)),)

    return inputs


def chains(dice: Dice) -> RandomNet:
    """Layers, norms and activations in a row, in any layout."""
    return _net(dice, dice.choose(*LAYOUTS), chain=1)


def convolutions(dice: Dice) -> RandomNet:
    """Strided, grouped, depthwise, transposed and pooled, without and with padding."""
    width, size = dice.width(), 12
    found: list[nn.Module] = [nn.Conv2d(CHANNELS, width, 3, padding=dice.choose(0, 1))]
    for _ in range(dice.between(1, 3)):
        kind = dice.choose("plain", "grouped", "depthwise", "transposed", "pool", "strided")
        wider = dice.choose(width, 2 * width)
        bias = dice.chance(0.7)
        found += {
            "plain": lambda: [nn.Conv2d(width, wider, 3, padding=dice.choose(0, 1), bias=bias)],
            "grouped": lambda: [nn.Conv2d(width, wider, 3, padding=1, groups=_half(width))],
            "depthwise": lambda: [
                nn.Conv2d(width, wider, 3, padding=dice.choose(0, 1), groups=width, bias=bias)
            ],
            "transposed": lambda: [nn.ConvTranspose2d(width, wider, 2, bias=bias)],
            "pool": lambda: [dice.choose(nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1), nn.Upsample(8))],
            "strided": lambda: [nn.Conv2d(width, wider, 3, 2, padding=1, bias=bias)],
        }[kind]()
        width = width if kind == "pool" else wider
        if dice.chance(0.6):
            found.append(LAYOUTS[3].norm(dice, width))
        found.append(activation(dice))
    found += [nn.AdaptiveAvgPool2d(dice.choose(1, 2)), nn.Flatten(), nn.LazyLinear(CHANNELS)]
    model = nn.Sequential(*found)
    model.eval()(torch.randn(2, CHANNELS, size, size))
    return RandomNet(model, _values(LAYOUTS[3]), Draw(size=size), (size + 3, size - 1))


def _half(width: int) -> int:
    return 2 if width % 2 == 0 else width


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
    return RandomNet(model, _values(layout), Draw(size=dice.choose(2, 4)), (6, 2, 8))


def idle(dice: Dice) -> RandomNet:
    """Units that look constant on the example, and are not."""
    return _net(dice, dice.choose(*LAYOUTS), idle=3, chain=1, residual=1)


def mixed(dice: Dice) -> RandomNet:
    """Everything."""
    weights = {"chain": 1, "streams": 2, "residual": 2, "tied": 1, "views": 2, "idle": 2}
    return _net(dice, dice.choose(*LAYOUTS), **weights)


def masks(dice: Dice) -> RandomNet:
    """An optional mask of positions, which sets them to a value."""
    layout = dice.choose(*LAYOUTS[1:])
    grammar = Grammar(dice, layout, chain=2, residual=1, streams=1)
    widths = [CHANNELS, *(dice.width() for _ in range(dice.between(1, 3)))]
    stages = [grammar.chain(a, b, 1) for a, b in zip(widths, widths[1:], strict=False)]
    stages.append(grammar.piece(widths[-1]))
    fills = [dice.choose("", "0.0", "0.0", "product", "where", "-2.0") for _ in stages]
    pool = dice.choose("", "mean", "mean", "plain")
    head = nn.Linear(widths[-1], CHANNELS) if pool else layout.mix(dice, widths[-1], CHANNELS)
    model = heads.Masked(stages, fills, head, layout.dim, pool)

    def inputs(draw: Draw) -> tuple[Any, ...]:
        x = draw.values(*layout.shape(draw.batch, CHANNELS, draw.size))
        mask = draw.kept(draw.batch, *[draw.size] * max(1, layout.spatial))
        return (x,) if mask is None else (x, mask)

    example = Draw(size=5, mask=dice.choose(*_MASKS))
    return RandomNet(model, inputs, example, (7, 3), _MASKS)


def lengths(dice: Dice) -> RandomNet:
    """A mask made of the lengths of sequences."""
    grammar = Grammar(dice, LAYOUTS[1], chain=2, residual=1, streams=1)
    width = dice.width()
    first = nn.Sequential(grammar.chain(CHANNELS, width, 1), grammar.piece(width))
    model = heads.Lengths(first, grammar.piece(width), nn.Linear(width, CHANNELS))
    return RandomNet(model, _with_lengths, Draw(size=5, mask=dice.choose(*_MASKS[:3])), (7,), _MASKS[:3])


def _with_lengths(draw: Draw) -> tuple[Any, ...]:
    x = draw.values(draw.batch, draw.size, CHANNELS)
    full = torch.full((draw.batch,), draw.size)
    if draw.mask == "mixed":
        full = torch.randint(1, draw.size + 1, (draw.batch,))
    return (x, torch.ones_like(full) if draw.mask == "one" else full)


def options(dice: Dice) -> RandomNet:
    """Optional arguments that change the stream."""
    layout = dice.choose(*LAYOUTS)
    grammar = Grammar(dice, layout, chain=2, residual=1, streams=1)
    width = dice.width()
    stem, body = grammar.chain(CHANNELS, width, 1), grammar.piece(width)
    model = heads.Optional(stem, body, layout.mix(dice, width, CHANNELS), layout.dim)

    def inputs(draw: Draw) -> tuple[Any, ...]:
        x = draw.values(*layout.shape(draw.batch, CHANNELS, draw.size))
        one = [1] * (x.dim() - 1)
        scale = torch.rand(draw.batch, *one, dtype=torch.float64)
        return (x, scale, 1.0 + scale) if draw.options else (x,)

    example = Draw(size=4, options=dice.chance(0.7))
    return RandomNet(model, inputs, example, (6,) if layout.name != "vectors" else (), options=True)


def conditions(dice: Dice) -> RandomNet:
    """A second input with layers of its own, which later is left out."""
    grammar = Grammar(dice, LAYOUTS[0], chain=2, residual=1, streams=1)
    width = dice.width()
    stem, other = grammar.chain(CHANNELS, width, 1), grammar.chain(2, width, 1)
    model = heads.Conditional(stem, other, grammar.piece(width), nn.Linear(width, CHANNELS))

    def inputs(draw: Draw) -> tuple[Any, ...]:
        x, condition = draw.values(draw.batch, CHANNELS), draw.values(draw.batch, 2)
        return (x, condition) if draw.options else (x,)

    return RandomNet(model, inputs, Draw(), options=True)


def tokens(dice: Dice) -> RandomNet:
    """Embeddings, tied ones too, and padding found in the tokens."""
    grammar = Grammar(dice, LAYOUTS[1], chain=1, residual=3, streams=1, tied=1)
    width, words = dice.choose(4, 6, 8), 9
    body = grammar.body(width, dice.between(1, 2))
    model = heads.Tokens(width, words, body, dice.chance(0.5), dice.chance(0.6))

    def inputs(draw: Draw) -> tuple[Any, ...]:
        found = torch.randint(1, words, (draw.batch, draw.size))
        mask = draw.kept(draw.batch, draw.size)
        return (found if mask is None else found * mask,)

    return RandomNet(model, inputs, Draw(mask=dice.choose(*_MASKS)), (7, 3), _MASKS)


def _attentive(dice: Dice, attention: nn.Module, width: int) -> RandomNet:
    grammar = Grammar(dice, LAYOUTS[1], chain=2, residual=1)
    stem = grammar.chain(CHANNELS, width, 1)
    body = nn.Sequential(grammar.piece(width), nn.Linear(width, CHANNELS))
    shape = dice.choose("residual", "plain")
    model = sequences.Attentive(stem, attention, body, shape, dice.chance(0.5))

    def inputs(draw: Draw) -> tuple[Any, ...]:
        x, mask = draw.values(draw.batch, draw.size, CHANNELS), draw.kept(draw.batch, draw.size)
        return (x,) if mask is None else (x, mask)

    return RandomNet(model, inputs, Draw(mask=dice.choose(*_MASKS)), (7, 3), _MASKS)


def attention(dice: Dice) -> RandomNet:
    """Attention by hand."""
    width = dice.width()
    if dice.chance(0.3):
        found: nn.Module = sequences.OneHead(width, dice.width(), dice.width())
    else:
        heads_, size = dice.choose(1, 2, 3), dice.choose(2, 3, 4)
        how = dice.choose("apart", "together", "fused")
        found = sequences.OwnAttention(width, heads_, size, how, dice.chance(0.8))
    return _attentive(dice, found, width)


def multihead(dice: Dice) -> RandomNet:
    """`nn.MultiheadAttention`."""
    width = dice.choose(4, 6, 8)
    own = dice.choose(width, width, 5)
    found = sequences.TorchAttention(width, 2, dice.chance(0.8), dice.chance(0.7), own)
    return _attentive(dice, found, width)


def transformers(dice: Dice) -> RandomNet:
    """torch's layers of encoders and decoders."""
    width = dice.choose(4, 6, 8)
    how: dict[str, Any] = {
        "d_model": width,
        "nhead": 2,
        "dim_feedforward": dice.choose(6, 8),
        "dropout": 0.0,
        "activation": dice.choose("relu", "gelu"),
        "batch_first": True,
        "norm_first": dice.chance(0.5),
        "bias": dice.chance(0.85),
    }
    if dice.chance(0.25):
        decoder = sequences.Decoder(width, nn.TransformerDecoderLayer(**how))
        return _attentive(dice, decoder, width)
    encoder: nn.Module = nn.TransformerEncoderLayer(**how)
    if dice.chance(0.4):
        encoder = nn.TransformerEncoder(encoder, 2, enable_nested_tensor=dice.chance(0.5))
    return _attentive(dice, sequences.Encoder(encoder), width)


def recurrent(dice: Dice) -> RandomNet:
    """LSTM, GRU and plain recurrence, packed sequences and cells in loops."""
    grammar = Grammar(dice, LAYOUTS[1], chain=1)
    width, hidden = dice.width(), dice.width()
    stem = grammar.chain(CHANNELS, width, 1)
    if dice.chance(0.25):
        cell = dice.choose(nn.LSTMCell, nn.GRUCell, nn.RNNCell)(width, hidden)
        loop = sequences.Cell(stem, cell, nn.Linear(hidden, CHANNELS))
        return RandomNet(loop, _values(LAYOUTS[1]), Draw(size=4), (6, 2))
    kind = dice.choose(nn.LSTM, nn.LSTM, nn.GRU, nn.RNN)
    both, layers = dice.chance(0.3), dice.choose(1, 1, 2)
    more = {"proj_size": 3} if kind is nn.LSTM and hidden > 3 and dice.chance(0.2) else {}
    rnn = kind(
        width,
        hidden,
        layers,
        bias=dice.chance(0.85),
        batch_first=True,
        bidirectional=both,
        **more,
    )
    how = dice.choose("all", "last", "state", "packed")
    outputs = (3 if more else hidden) * (2 if both and how != "state" else 1)
    body = nn.Sequential(activation(dice), nn.Linear(outputs, CHANNELS))
    model = sequences.Recurrent(stem, rnn, body, how)
    if how == "packed":
        example = Draw(size=4, mask=dice.choose(*_MASKS[:3]))
        return RandomNet(model, _with_lengths, example, (6,), _MASKS[:3])
    return RandomNet(model, _values(LAYOUTS[1]), Draw(size=4), (6, 2))


KINDS: dict[str, Callable[[Dice], RandomNet]] = {
    build.__name__: build
    for build in (
        chains, convolutions, streams, residuals, tied, views, reshaped, idle, mixed, masks, lengths,
        options, conditions, tokens, attention, multihead, transformers, recurrent,
    )
}  # fmt: skip
"""Every kind of net, by name. The number of a case says which one it is of."""
