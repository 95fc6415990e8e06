"""Loading: a model by the name of what makes it, its weights, and inputs by their sizes."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_prune.compaction import load_compact
from lightning_prune.compaction.compact_file import FORMAT

_TYPES = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}


def model_of(name: str, weights: str | None = None) -> nn.Module:
    """Make a model, and load its weights.

    Args:
        name: ``module:factory``; the factory is called without arguments, and modules of the
            working directory are found.
        weights: a file of `save_compact`, a safetensors file, or a state dict of `torch.save`.

    Returns:
        The model in eval mode.

    Raises:
        ValueError: if there is no such factory, or the weights do not fit.
        TypeError: if it makes no module.
    """
    module, _, factory = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"Expected `model` to be module:factory, such as torchvision.models:resnet18, but got "
            f"{name!r} ({error}). Name a function or class that makes the model without arguments."
        ) from error
    finally:
        sys.path.pop(0)
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"Expected {name} to make a torch.nn.Module, but got {type(made).__name__}. Name a "
            "function or class that returns the model."
        )
    return (made if weights is None else _with_weights(made, weights)).eval()


def _with_weights(model: nn.Module, path: str) -> nn.Module:
    if _is_compact(path):
        return load_compact(model, path)
    is_safe = path.endswith(".safetensors")
    state: Any = load_file(path) if is_safe else torch.load(path, "cpu", weights_only=True)
    try:
        model.load_state_dict(state.get("state_dict", state))
    except (RuntimeError, AttributeError) as error:
        raise ValueError(
            f"Expected the weights to be a state dict of the model, but got {path} ({error}). Pass "
            "what `torch.save(model.state_dict(), path)` or `save_compact` wrote."
        ) from error
    return model


def _is_compact(path: str) -> bool:
    if not path.endswith(".safetensors"):
        return False
    with safe_open(path, "pt") as file:
        kind: str = (file.metadata() or {}).get("format", "")
    return kind.partition("/")[0] == FORMAT.partition("/")[0]


def inputs_of(sizes: str) -> tuple[Tensor, ...]:
    """Make example inputs.

    Args:
        sizes: of each positional argument, with spaces between: ``1,3,224,224`` for real numbers,
            ``int:1,16`` for whole ones, which are zeros, and ``bool:1,16``, which are true.

    Returns:
        The tensors; real numbers are random, the same for the same sizes.

    Raises:
        ValueError: if there are none, or they are no sizes.
    """
    generator = torch.Generator().manual_seed(0)
    made = []
    for text in sizes.split():
        kind, _, numbers = text.rpartition(":")
        try:
            shape = [int(number) for number in numbers.split(",")]
            dtype = _TYPES[kind or "float"]
            zeros = torch.zeros(shape, dtype=dtype)
        except (ValueError, KeyError, RuntimeError) as error:
            raise ValueError(
                f"Expected `input` to be sizes such as 1,3,224,224 or int:1,16, but got {text!r}. "
                f"The types are {', '.join(_TYPES)}."
            ) from error
        is_real = dtype == torch.float32
        made.append(torch.randn(shape, generator=generator) if is_real else zeros)
        if dtype == torch.bool:
            made[-1] = ~zeros
    if not made:
        raise ValueError(
            "Expected `input` to hold the sizes of the model's inputs, but got none. Say "
            "--input 1,3,224,224 for one argument."
        )
    return tuple(made)


def as_json(data: Any) -> str:
    """Return plain data as text, indented."""
    return json.dumps(data, indent=2)
