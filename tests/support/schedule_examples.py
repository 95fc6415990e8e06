"""Schedules of every kind, for tests that all of them pass."""

import pytest

from lightning_prune import schedules
from lightning_prune.schedules import (
    Cosine,
    Cubic,
    DenseSparseDense,
    Exponential,
    Iterative,
    Linear,
    OneCycle,
    OneShot,
    Regrow,
    Steps,
)

RAMPS = [Cosine, Cubic, Exponential, Linear, OneCycle, Regrow]
EXAMPLES = {ramp.__name__: [ramp(start_epoch=2, end_epoch=9)] for ramp in RAMPS} | {
    "OneShot": [OneShot(epoch=3), OneShot(step=0)],
    "Steps": [Steps(epochs={4: 1.0}), Steps(steps={0: 0.2, 3: 0.2, 20: 0.7, 31: 1.0})],
    "DenseSparseDense": [DenseSparseDense(start_epoch=1, end_epoch=4)],
    "Iterative": [
        Iterative(rounds=3, start_epoch=0, recovery_epochs=2),
        Iterative(rounds=4, start_step=7, recovery_steps=5),
    ],
}
for ramp in RAMPS:
    EXAMPLES[ramp.__name__] += [
        ramp(start_epoch=0, end_epoch=9),
        ramp(start_step=5, end_step=31, every=7),
    ]
FRACTIONS = {ramp.__name__: [ramp(start=0.1, end=0.6)] for ramp in RAMPS} | {
    "OneShot": [OneShot(at=0.3)],
    "Steps": [Steps(fractions={0.5: 1.0, 0.25: 0.4})],
    "DenseSparseDense": [DenseSparseDense(start=0.2, end=0.5)],
    "Iterative": [Iterative(rounds=3, start=0.1, recovery=0.2)],
}
FRACTIONS["Cubic"] += [Cubic(start=0, end=0.5, every=0.2)]
STEPS = 90  # of the training whose fractions they are
LEAVES = [name for name in schedules.__all__ if name != "Schedule"]
UNRESOLVED = [pytest.param(s, id=repr(s)) for name in LEAVES for s in FRACTIONS[name]]
SCHEDULES = [
    pytest.param(s, id=repr(s))
    for name in LEAVES
    for s in [*EXAMPLES[name], *(one.resolved(STEPS) for one in FRACTIONS[name])]
]
