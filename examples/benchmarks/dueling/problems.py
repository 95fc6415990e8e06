"""The problems: two networks on CIFAR-10, an LSTM and a convolutional one on the digits."""

from __future__ import annotations

import sys
from functools import partial
from importlib import util
from pathlib import Path
from types import ModuleType

from torch import Tensor

from dueling.images import augment, load_images, normalise
from dueling.nets import ResNet20, RowReader, ViT
from dueling.problem import Problem, Split, Splits

_EXAMPLES = Path(__file__).resolve().parents[2]


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


def load_digits(path: Path) -> Splits:
    """Read the digits that scikit-learn ships; the path does not matter."""
    data = _example("digits", "data").DigitsData()
    data.setup("fit")
    return Splits(Split(*data.train.tensors), Split(*data.test.tensors))


_images = partial(
    Problem,
    load=load_images,
    prepare=normalise,
    augment=augment,
    batch_size=128,
    precision="bf16-mixed",
)
_digits = partial(
    Problem,
    load=load_digits,
    prepare=_as_it_is,
    augment=_as_it_is,
    batch_size=64,
    optimizer="adamw",
    precision="32-true",
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
        _digits(
            "lstm",
            RowReader,
            epochs=30,
            learning_rate=3e-3,
            recovery_rate=1e-3,
        ),
        _digits(
            "digits",
            lambda: _example("digits", "model").DigitsClassifier(width=32),
            epochs=20,
            learning_rate=2e-3,
            recovery_rate=5e-4,
        ),
    )
}
