"""What a network, its data and its training are to this benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn


@dataclass(frozen=True)
class Split:
    """Inputs and their classes, examples first, as they lie in memory."""

    inputs: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Splits:
    """What networks train on, and what they are tested on."""

    train: Split
    test: Split


@dataclass(frozen=True)
class Problem:
    """A network and the classes that it is to learn.

    Args:
        name: in file names and tables.
        build: makes an untrained network.
        load: reads the data; the path is that of the images.
        prepare: makes inputs of the network of stored ones.
        augment: makes inputs of training.
        epochs: of the dense training.
        batch_size: of training.
        optimizer: ``"sgd"`` with momentum, or ``"adamw"``.
        learning_rate: the highest of the dense training's cycle.
        recovery_rate: the highest after the cut.
        precision: of the Trainer, while training.
        stream: names of the modules whose units run through all blocks.
        stages: names of modules that write to it, whose outputs a teacher has in the same size.
    """

    name: str
    build: Callable[[], nn.Module]
    load: Callable[[Path], Splits]
    prepare: Callable[[Tensor], Tensor]
    augment: Callable[[Tensor], Tensor]
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    recovery_rate: float
    precision: str
    stream: Sequence[str] = ()
    stages: Sequence[str] = ()
