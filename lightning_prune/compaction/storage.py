"""Compact models on disk: weights in a safetensors file, sizes in its metadata, no pickle.

The file names every whole number that a module keeps in an attribute, and every correction of its
source, so that a fresh model of full size can be brought to the compact shapes in one call, in
a process that knows only its class.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from os import PathLike
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_prune.compaction.rewriting import Correction, Edit, edits_of, rewritten
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.coupling.graph import Position
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.attention import TensorSizedAttention, can_take_sizes_from_tensors

_FORMAT = "lightning_prune/2"
_Model = TypeVar("_Model", bound=nn.Module)


def save_compact(model: nn.Module, path: str | PathLike[str]) -> None:
    """Write the weights of ``model`` and the sizes of its layers to one file.

    Args:
        model: a compact model; a dense one is as welcome.
        path: the file to write, usually ``*.safetensors``.
    """
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first_name: dict[int, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        first = first_name.setdefault(id(tensor), name)
        if first == name:
            tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        else:
            tied[name] = first
    metadata = {
        "sizes": {name: sizes for name, m in model.named_modules() if (sizes := _sizes(m))},
        "classes": {name: kind for name, m in model.named_modules() if (kind := _class(m))},
        "tied": tied,
    }
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    save_file(tensors, path, {"format": _FORMAT, **texts})


def load_compact(model: _Model, path: str | PathLike[str]) -> _Model:
    """Bring a fresh model to the compact shapes of a file, in place.

    Args:
        model: a module of the class that was saved, in its original size.
        path: a file written by `save_compact`.

    Returns:
        ``model``, compact, with the weights of the file.

    Raises:
        ValueError: if the file was not written by `save_compact`, or holds another model; the
            model is then as it was.
    """
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"Expected `path` to be a file in the format {_FORMAT}, but got "
            f"{metadata.get('format', 'one without a format')}. Write it with `save_compact`."
        )
    sizes: dict[str, dict[str, Any]] = json.loads(metadata["sizes"])
    classes: dict[str, dict[str, Any]] = json.loads(metadata["classes"])
    stored |= {name: stored[first] for name, first in json.loads(metadata["tied"]).items()}
    _check(model, stored, [*sizes, *classes])
    surgery = Surgery(model)
    try:
        _set_classes(model, classes, surgery)
    except RewriteError as error:
        surgery.undo()
        raise ValueError(
            f"Expected `model` to have the source of the model that was saved, but {error}. Use "
            "the version of the code that it was compacted with."
        ) from error
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            if tensor.shape != stored[name].shape:
                surgery.replace(tensor, stored[name].to(tensor, copy=True))
    for name, attributes in sizes.items():
        module = model.get_submodule(name)
        for attribute, size in attributes.items():
            if attribute in vars(module):
                surgery.set(module, attribute, _plain(size))
    model.load_state_dict(stored)
    return model


def _sizes(module: nn.Module) -> dict[str, Any]:
    """Return every attribute that holds whole numbers."""
    return {
        name: value
        for name, value in vars(module).items()
        if type(value) is int or _is_shape(value)
    }


def _is_shape(value: Any) -> bool:
    return type(value) in {tuple, torch.Size} and all(type(size) is int for size in value)


def _plain(value: Any) -> Any:
    """Return what JSON made lists of as tuples."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _class(module: nn.Module) -> dict[str, Any]:
    """Return in what the class of a module differs from the user's."""
    kind, edits = edits_of(type(module))
    found = {"attention": kind is TensorSizedAttention, "edits": [asdict(edit) for edit in edits]}
    return found if any(found.values()) else {}


def _set_classes(model: nn.Module, classes: dict[str, dict[str, Any]], surgery: Surgery) -> None:
    for name, found in classes.items():
        module = model.get_submodule(name)
        if found["attention"] and can_take_sizes_from_tensors(module):
            surgery.free_attention(module)
        edits = tuple(map(_edit, found["edits"]))
        surgery.set_class(module, rewritten(edits_of(type(module))[0], edits))


def _edit(data: dict[str, Any]) -> Edit:
    path = tuple(Position(*position) for position in data["path"])
    correction = Correction(data["correction"]["kind"], _plain(data["correction"]["value"]))
    return Edit(data["method"], path, correction, data["digest"])


def _check(model: nn.Module, stored: dict[str, Tensor], named: list[str]) -> None:
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - stored.keys()), sorted(stored.keys() - own.keys())
    misfits = [
        f"{name} {tuple(stored[name].shape)} for {tuple(own[name].shape)}"
        for name in own.keys() & stored.keys()
        if stored[name].dim() != own[name].dim()
        or any(
            small > large for small, large in zip(stored[name].shape, own[name].shape, strict=True)
        )
    ]
    modules = dict(model.named_modules())
    absent = [name for name in dict.fromkeys(named) if name not in modules]
    problems = {
        "tensors that the file lacks": missing,
        "tensors that the model lacks": unknown + absent,
        "shapes that do not fit": sorted(misfits),
    }
    found = "; ".join(
        f"{what}: {', '.join(names[:5])}" for what, names in problems.items() if names
    )
    if found:
        raise ValueError(
            f"Expected `model` to be a {type(model).__name__} of the size that was pruned, but "
            f"got {found}. Build the model with the arguments that it had before pruning."
        )
