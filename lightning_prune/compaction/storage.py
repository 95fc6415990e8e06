"""Compact models on disk: weights in a safetensors file, sizes in its metadata, no pickle.

The file names every size that torch's modules repeat in attributes, so that a fresh model of full
size can be brought to the compact shapes in one call, in a process that knows only its class.
"""

from __future__ import annotations

import json
from os import PathLike
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_prune.compaction.sizes import GROUP_ATTRIBUTES, module_sizes
from lightning_prune.compaction.surgery import Surgery

_FORMAT = "lightning_prune/1"
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
    metadata = {"format": _FORMAT, "sizes": json.dumps(_sizes(model)), "tied": json.dumps(tied)}
    save_file(tensors, path, metadata)


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
    sizes: dict[str, dict[str, int]] = json.loads(metadata["sizes"])
    stored |= {name: stored[first] for name, first in json.loads(metadata["tied"]).items()}
    _check(model, stored, sizes)
    surgery = Surgery(model)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            if tensor.shape != stored[name].shape:
                surgery.replace(tensor, stored[name].to(tensor))
    for name, attributes in sizes.items():
        for attribute, size in attributes.items():
            surgery.set(model.get_submodule(name), attribute, size)
    model.load_state_dict(stored)
    return model


def _sizes(model: nn.Module) -> dict[str, dict[str, int]]:
    found = {}
    for name, module in model.named_modules():
        groups = {a: getattr(module, a) for a in GROUP_ATTRIBUTES if hasattr(module, a)}
        found[name] = module_sizes(module) | {a: n for a, n in groups.items() if type(n) is int}
    return {name: sizes for name, sizes in found.items() if sizes}


def _check(model: nn.Module, stored: dict[str, Tensor], sizes: dict[str, dict[str, int]]) -> None:
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
    absent = [name for name in sizes if name not in modules]
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
