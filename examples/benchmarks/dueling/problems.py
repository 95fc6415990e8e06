"""The problems: two networks on CIFAR-10, an LSTM on a recording, one network on the digits."""

from __future__ import annotations

import sys
from functools import partial
from importlib import util
from pathlib import Path
from types import ModuleType

import torch.nn.functional as F
from torch import Tensor

from dueling.images import augment, load_images, normalise
from dueling.nets import Forecaster, ResNet20, ViT
from dueling.problem import Problem, Split, Splits

_EXAMPLES = Path(__file__).resolve().parents[2]


def accuracy(outputs: Tensor, classes: Tensor) -> float:
    """Return the share of rows whose greatest output is that of the class."""
    return float((outputs.argmax(1) == classes).float().mean())


def explained(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of the variance of the targets that the outputs explain."""
    return float(1 - F.mse_loss(outputs, targets) / targets.var(0, correction=0).mean())


def _as_it_is(inputs: Tensor) -> Tensor:
    return inputs


def _example(folder: str, file: str) -> ModuleType:
    """Return a module of another example; their names are alike, so not by name."""
    path = _EXAMPLES / folder / f"{file}.py"
    spec = util.spec_from_file_location(f"{folder}_{file}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"Expected `{path}` to be a module, but it cannot be loaded.")
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _digits(path: Path) -> Splits:
    data = _example("digits", "data").DigitsData()
    data.setup("fit")
    return Splits(Split(*data.train.tensors), Split(*data.test.tensors))


def _recording(path: Path) -> Splits:
    data = _example("rnn", "data").EegData()
    data.setup("fit")
    parts = (data.train.tensors, data.test.tensors)
    return Splits(*(Split(windows, next_ - windows[:, -1]) for windows, next_ in parts))


_images = partial(
    Problem,
    load=load_images,
    prepare=normalise,
    augment=augment,
    loss=F.cross_entropy,
    score=accuracy,
    batch_size=128,
    precision="bf16-mixed",
)
_others = partial(
    Problem, prepare=_as_it_is, augment=_as_it_is, optimizer="adamw", precision="32-true"
)

PROBLEMS = {
    problem.name: problem
    for problem in (
        _images(
            "resnet20",
            ResNet20,
            epochs=15,
            optimizer="sgd",
            learning_rate=0.2,
            recovery_rate=0.05,
            stream=["stem"],
            stages=["blocks.2", "blocks.5", "blocks.8"],
        ),
        _images(
            "vit",
            ViT,
            epochs=16,
            optimizer="adamw",
            learning_rate=2e-3,
            recovery_rate=5e-4,
            stream=["patches"],
        ),
        _others(
            "lstm",
            Forecaster,
            load=_recording,
            loss=F.mse_loss,
            score=explained,
            epochs=30,
            batch_size=32,
            learning_rate=3e-3,
            recovery_rate=1e-3,
        ),
        _others(
            "digits",
            lambda: _example("digits", "model").DigitsClassifier(width=32),
            load=_digits,
            loss=F.cross_entropy,
            score=accuracy,
            epochs=20,
            batch_size=64,
            learning_rate=2e-3,
            recovery_rate=5e-4,
        ),
    )
}
