"""Compact models on disk: tensors, and the plan that brings a fresh model to their shapes.

What a plan may do to a model is checked before anything is changed, so a file can neither run nor
redirect code. Attributes that compaction has not changed are neither written nor set.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_prune.compaction.compact_file import CompactFile
from lightning_prune.compaction.fitting import Fitting, tensors_of
from lightning_prune.compaction.records import plan_of
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.errors import RewriteError

_Model = TypeVar("_Model", bound=nn.Module)


def save_compact(
    model: nn.Module, path: str | PathLike[str], *, report: CompactionReport | None = None
) -> None:
    """Write the weights of ``model`` and what compaction has changed to one file.

    The file appears under its name when it is complete.

    Args:
        model: a compact model, or a part of one; one of full size is as welcome.
        path: the file to write, usually ``*.safetensors``.
        report: what `compact` returned; its errors are written, too.

    Raises:
        ValueError: if a module keeps state that is no tensor.
    """
    for name, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise ValueError(
                f"Expected `model` to keep nothing but tensors, but got {name or 'one'} with a "
                "`get_extra_state`, which a file of tensors cannot hold. Save that part by itself."
            )
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first_name: dict[int, str] = {}
    plan = plan_of(model)
    for name, tensor in tensors_of(model, plan).items():
        first = first_name.setdefault(id(tensor), name)
        if first == name:
            tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        else:
            tied[name] = first
    CompactFile(tensors, tied, plan, _proof(model, report)).write(path)


def load_compact(model: _Model, path: str | PathLike[str]) -> _Model:
    """Bring a fresh model to the compact shapes of a file, in place.

    Args:
        model: a module of the class that was saved, in its original size and in the types of the
            tensors that were saved.
        path: a file written by `save_compact`.

    Returns:
        ``model``, compact, with the weights of the file.

    Raises:
        ValueError: if the file is damaged, was not written by `save_compact`, holds another model,
            or would do anything else than shrink this one; the model is then as it was.
    """
    file = CompactFile.read(path)
    stored = file.stored
    Fitting(model, file.plan, stored).require()
    surgery = Surgery(model)
    try:
        surgery.apply(file.plan)
        for name, tensor in tensors_of(model, file.plan).items():
            surgery.replace(tensor, stored[name].to(tensor.device, copy=True))
    except (RewriteError, RuntimeError, TypeError) as error:
        surgery.undo()
        raise ValueError(
            f"Expected `model` to take the plan of the file, but {error}. Use the version of the "
            "code that it was compacted with."
        ) from error
    except BaseException:
        surgery.undo()
        raise
    return model


def _proof(model: nn.Module, report: CompactionReport | None) -> Mapping[str, Any]:
    """Return where a file comes from, in words and numbers."""
    proof: dict[str, Any] = {
        "model": f"{type(model).__module__}.{type(model).__qualname__}",
        "lightning_prune": _own_version(),
        "torch": str(torch.__version__),
    }
    if report is not None:
        proof |= {
            "max_abs_error": report.max_abs_error,
            "max_rel_error": report.max_rel_error,
            "refused": dict(report.refused),
            "tried": list(report.tried),
            "untried": list(report.untried),
        }
    return proof


def _own_version() -> str:
    try:
        return version("lightning-prune")
    except PackageNotFoundError:  # a checkout on the path
        return "not installed"
