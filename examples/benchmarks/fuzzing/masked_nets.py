"""Masked nets: nets with masks, lengths and optional arguments."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from fuzzing import heads
from fuzzing.dice import CHANNELS, MASKS, Dice, Draw, RandomNet
from fuzzing.grammar import Grammar
from fuzzing.layers import LAYOUTS
from torch import nn


def masks(dice: Dice) -> RandomNet:
    """An optional mask of positions, which sets them to a value."""
    layout = dice.choose(*LAYOUTS[1:])
    grammar = Grammar(dice, layout, chain=2, residual=1, streams=1)
    widths = [CHANNELS, *(dice.width() for _ in range(dice.between(1, 3)))]
    stages = [grammar.chain(*pair, 1) for pair in pairwise(widths)]
    stages.append(grammar.piece(widths[-1]))
    fills = [dice.choose("", "0.0", "0.0", "product", "where", "-2.0") for _ in stages]
    pool = dice.choose("", "mean", "mean", "plain")
    head = nn.Linear(widths[-1], CHANNELS) if pool else layout.mix(dice, widths[-1], CHANNELS)
    model = heads.Masked(stages, fills, head, layout.dim, pool)

    def inputs(draw: Draw) -> tuple[Any, ...]:
        x = draw.values(*layout.shape(draw.batch, CHANNELS, draw.size))
        mask = draw.kept(draw.batch, *[draw.size] * max(1, layout.spatial))
        return (x,) if mask is None else (x, mask)

    example = Draw(size=5, mask=dice.choose(*MASKS))
    return RandomNet(model, inputs, example, (7, 3), MASKS)


def lengths(dice: Dice) -> RandomNet:
    """A mask made of the lengths of sequences."""
    grammar = Grammar(dice, LAYOUTS[1], chain=2, residual=1, streams=1)
    width = dice.width()
    first = nn.Sequential(grammar.chain(CHANNELS, width, 1), grammar.piece(width))
    model = heads.Lengths(first, grammar.piece(width), nn.Linear(width, CHANNELS))
    return RandomNet(
        model, with_lengths, Draw(size=5, mask=dice.choose(*MASKS[:3])), (7,), MASKS[:3]
    )


def with_lengths(draw: Draw) -> tuple[Any, ...]:
    """Return sequences and their lengths."""
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

    return RandomNet(model, inputs, Draw(mask=dice.choose(*MASKS)), (7, 3), MASKS)
