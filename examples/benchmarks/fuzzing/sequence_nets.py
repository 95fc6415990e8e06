"""Sequence nets: attention, transformers and recurrent layers between others."""

from __future__ import annotations

from typing import Any

from fuzzing import sequences
from fuzzing.dice import CHANNELS, MASKS, Dice, Draw, RandomNet
from fuzzing.grammar import Grammar
from fuzzing.layers import LAYOUTS, activation
from fuzzing.masked_nets import with_lengths
from torch import nn


def _attentive(dice: Dice, attention: nn.Module, width: int) -> RandomNet:
    grammar = Grammar(dice, LAYOUTS[1], chain=2, residual=1)
    stem = grammar.chain(CHANNELS, width, 1)
    body = nn.Sequential(grammar.piece(width), nn.Linear(width, CHANNELS))
    shape = dice.choose("residual", "plain")
    model = sequences.Attentive(stem, attention, body, shape, dice.chance(0.5))

    def inputs(draw: Draw) -> tuple[Any, ...]:
        x, mask = draw.values(draw.batch, draw.size, CHANNELS), draw.kept(draw.batch, draw.size)
        return (x,) if mask is None else (x, mask)

    return RandomNet(model, inputs, Draw(mask=dice.choose(*MASKS)), (7, 3), MASKS)


def attention(dice: Dice) -> RandomNet:
    """Attention by hand."""
    width = dice.width()
    if dice.chance(0.3):
        found: nn.Module = sequences.OneHead(width, dice.width(), dice.width())
    else:
        count, size = dice.choose(1, 2, 3), dice.choose(2, 3, 4)
        how = dice.choose("apart", "together", "fused")
        found = sequences.OwnAttention(width, count, size, how, dice.chance(0.8))
    return _attentive(dice, found, width)


def multihead(dice: Dice) -> RandomNet:
    """`nn.MultiheadAttention`."""
    width = dice.choose(4, 6, 8)
    own = dice.choose(width, width, 5)
    how = {
        "bias": dice.chance(0.8),
        "batch_first": dice.chance(0.7),
        "add_bias_kv": dice.chance(0.1),
        "add_zero_attn": dice.chance(0.1),
    }
    found = sequences.TorchAttention(width, own, dice.chance(0.2), dice.chance(0.25), how)
    return _attentive(dice, found, width)


def transformers(dice: Dice) -> RandomNet:
    """Torch's layers of encoders and decoders."""
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
        return RandomNet(loop, LAYOUTS[1].inputs, Draw(size=4), (6, 2))
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
        example = Draw(size=4, mask=dice.choose(*MASKS[:3]))
        return RandomNet(model, with_lengths, example, (6,), MASKS[:3])
    return RandomNet(model, LAYOUTS[1].inputs, Draw(size=4), (6, 2))
