"""Damage: what is zeroed in a net, by hand or by pruning."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from fuzzing.dice import Dice
from torch import Tensor, nn

import lightning_prune as lp

Named = list[tuple[str, Tensor]]


def randomize(model: nn.Module, dice: Dice) -> None:
    """Give every parameter and statistic a value that is neither zero nor the default.

    Args:
        model: any net; it is changed in place.
        dice: the random choices, among them biases so low that a ReLU behind them is idle.
    """
    low = dice.choose(0.0, 0.0, 0.3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
            parameter.copy_(torch.randn_like(parameter) / math.sqrt(max(1, fan_in)))
            if name.endswith("bias"):
                parameter.mul_(0.5).sub_(8.0 if dice.chance(low) else 0.0)
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + (-0.5 if "mean" in name else 0.5))


def damage(model: nn.Module, inputs: tuple[object, ...], dice: Dice) -> str:
    """Zero weights in some way.

    Args:
        model: any net; it is changed in place.
        inputs: what it takes.
        dice: the random choices.

    Returns:
        What was done, in words.
    """
    done = []
    for _ in range(dice.choose(1, 1, 2)):
        kind = dice.choose("rows", "rows and biases", "columns", "units", "units", "branch")
        if dice.chance(0.4):
            kind = dice.choose("weights", "Channel", "Channel", "Head", "Layer", "Weight")
        if kind in ("Channel", "Head", "Layer", "Weight"):
            kind = kind if _prune(model, inputs, kind, dice) else "units"
        if kind[0].islower():
            _zero(model, kind, dice)
        done.append(kind)
    return " + ".join(done)


def _prune(model: nn.Module, inputs: tuple[object, ...], granularity: str, dice: Dice) -> bool:
    """Prune units of a granularity; tell whether that could be."""
    try:
        lp.prune(
            model,
            inputs,
            sparsity=dice.choose(0.2, 0.4, 0.6, 0.8 if granularity == "Weight" else 0.5),
            criterion=lp.Random(dice.between(0, 99)),
            granularity=getattr(lp, granularity)(),
        )
    except lp.TargetError:
        return False
    return True


@torch.no_grad()
def _zero(model: nn.Module, kind: str, dice: Dice) -> None:
    named = [(name, p) for name, p in model.named_parameters() if p.dim() and p.numel()]
    # A weight norm divides by the lengths of these.
    named = [(name, p) for name, p in named if not name.endswith("original1")]
    weights = [(name, p) for name, p in named if p.dim() > 1]
    if kind == "units":
        _zero_units(named, dice)
    elif kind == "branch":
        name, weight = dice.choose(*weights)
        for tensor in [weight, *(t for t in _vectors_beside(named, name) if dice.chance(0.7))]:
            tensor.zero_()
    else:
        for name, weight in dice.some(weights, dice.choose(0.3, 0.6, 1.0)) or weights[:1]:
            _zero_lines(weight, kind, dice, list(_vectors_beside(named, name)))


def _zero_lines(weight: Tensor, kind: str, dice: Dice, beside: list[Tensor]) -> None:
    """Zero random rows, columns or single weights."""
    if kind == "weights":
        weight.mul_(torch.rand_like(weight) > 0.8)
        return
    dim = int(kind == "columns")
    positions = _random_positions(weight.shape[dim], dice)
    weight.index_fill_(dim, positions, 0.0)
    for other in beside if kind == "rows and biases" else ():
        if len(other) == len(weight):
            other.index_fill_(0, positions, 0.0)


def _vectors_beside(named: Named, weight: str) -> Iterator[Tensor]:
    """Yield what has one dimension in the module that a weight belongs to: its biases."""
    owner = weight.rpartition(".")[0]
    for name, parameter in named:
        if name.rpartition(".")[0] == owner and parameter.dim() == 1:
            yield parameter


def _random_positions(size: int, dice: Dice) -> Tensor:
    return torch.tensor(dice.some(range(size), dice.choose(0.3, 0.6)), dtype=torch.int64)


def _zero_units(named: Named, dice: Dice) -> None:
    """Zero the same positions in everything of one width: whole units die, and several writers."""
    widths = sorted({size for _, p in named for size in p.shape[:2] if size > 3})
    if not widths:
        return
    width = dice.choose(*widths)
    gone = dice.some(range(width), 0.4) or [0]
    sides = dice.choose(*(_SIDES[i] for i in (0, 0, 1, 2, 3, 3)))
    for _, parameter in named:
        for dim, size in enumerate(parameter.shape[:2]):
            positions = torch.tensor([i for i in range(size) if i % width in gone])
            side = "bias" if parameter.dim() == 1 else ("out", "in")[dim]
            if size % width == 0 and side in sides:
                parameter.index_fill_(dim, positions, 0.0)


_SIDES = (("out",), ("out", "bias"), ("in",), ("out", "bias", "in"))
"""Where units are zeroed: in what writes them, in their biases and in what reads them."""
