"""Coupling rules, one family of operations per file.

To add a rule: one function that opens with its equation, one ``@rule("namespace::operation")``,
one row in the family's test table. An operation without a rule freezes what it touches.
"""

from lightning_prune.coupling.rules import (
    activation,
    attention,
    convolution,
    distance,
    elementwise,
    filling,
    indexing,
    layout,
    linear,
    normalization,
    recurrent,
    reduction,
    reshape,
    sampling,
    spectrum,
    weights,
)
from lightning_prune.coupling.rules.base import RULES, rule

__all__ = [
    "RULES",
    "activation",
    "attention",
    "convolution",
    "distance",
    "elementwise",
    "filling",
    "indexing",
    "layout",
    "linear",
    "normalization",
    "recurrent",
    "reduction",
    "reshape",
    "rule",
    "sampling",
    "spectrum",
    "weights",
]
