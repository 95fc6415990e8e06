"""Compact models on disk: tensors, and the plan that brings a fresh model to their shapes.

What a plan may do to a model is checked before anything is changed, so a file can neither run nor
redirect code. Attributes that compaction has not changed are neither written nor set.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_prune.arguments import check_flags, check_kind, check_model, check_writable, path_of
from lightning_prune.compaction.checkpoints import compact_file_in, read_checkpoint
from lightning_prune.compaction.compact_file import CompactFile, Stored, require_file
from lightning_prune.compaction.fitting import Fitting, tensors_of
from lightning_prune.compaction.full_size_states import loads_full_size
from lightning_prune.compaction.packing import Packed, pack_tensor, unpack_tensor
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.records import plan_of
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.errors import RewriteError
from lightning_prune.modules.kernels import flatten_recurrent

_Model = TypeVar("_Model", bound=nn.Module)


def save_compact(
    model: nn.Module,
    path: str | PathLike[str],
    *,
    report: CompactionReport | None = None,
    compress: bool = False,
) -> None:
    """Write the weights of ``model`` and what compaction has changed to one file.

    The file appears under its name when it is complete.

    Args:
        model: a compact model, or a part of one; one of full size is as welcome.
        path: the file to write, usually ``*.safetensors``.
        report: what `compact` returned; its errors are written, too.
        compress: leave out zeros and squeeze the rest, bit for bit, one tensor after the other; for
            models with many zeros, which compaction cannot remove. Needs zstandard.

    Raises:
        ValueError: if a module keeps state that is no tensor, or ``path`` cannot be written to.
        ImportError: if zstandard is missing where it is needed.
        TypeError: if an argument is of another type.
    """
    check_model(model)
    check_writable(path)
    check_flags(compress=compress)
    if report is not None:
        check_kind("report", report, CompactionReport)
    for name, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise ValueError(
                f"Expected `model` to keep nothing but tensors, but got {name or 'one'} with a "
                "`get_extra_state`, which a file of tensors cannot hold. Save that part by itself."
            )
    tensors: dict[str, Stored] = {}
    tied: dict[str, str] = {}
    first_name: dict[int, str] = {}
    plan = plan_of(model)
    for name, tensor in tensors_of(model, plan).items():
        first = first_name.setdefault(id(tensor), name)
        if first == name and compress:
            tensors[name] = pack_tensor(tensor)
        elif first == name:
            tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        else:
            tied[name] = first
    CompactFile(tensors, tied, plan, _proof(model, report)).write(path)


def load_compact(model: _Model, path: str | PathLike[str]) -> _Model:
    """Bring a fresh model to the compact shapes of a file, in place.

    Args:
        model: a module of the class that was saved, in its original size and in the types of the
            tensors that were saved.
        path: a file written by `save_compact`, or a Trainer's checkpoint of the compact model.

    Returns:
        ``model``, compact, with the weights of the file.

    Raises:
        ValueError: if the file is damaged, has no plan, holds another model, or would do anything
            else than shrink this one; the model is then as it was.
        TypeError: if an argument is of another type.
    """
    check_model(model)
    text = path_of(path)
    require_file(text)
    file = read_checkpoint(text) if zipfile.is_zipfile(text) else CompactFile.read(text)
    _follow(model, file.plan, file.stored)
    return model


def follow_checkpoint(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Bring a model to the compact sizes of a checkpoint, before its weights are loaded.

    Args:
        model: of full size, or compact already. It stays as it is if the checkpoint has no plan.
        checkpoint: what a Trainer has saved.

    Raises:
        ValueError: if the plan is not one for this model, or the model is compact in another way.
    """
    file, plan = compact_file_in(checkpoint), plan_of(model)
    if file is None:
        if plan != Plan() and not loads_full_size(model):
            _require_sizes(model, checkpoint["state_dict"])
    elif plan == Plan():
        own, stored = tensors_of(model, file.plan), file.stored
        casts = {
            name: _loaded(stored[name]).to(t.dtype) for name, t in own.items() if name in stored
        }
        _follow(model, file.plan, casts)
    elif plan != file.plan:
        raise ValueError(
            "Expected the checkpoint to hold the model with the units that it has, but got one "
            "that lost others. Load it into a new model of full size."
        )


def _require_sizes(model: nn.Module, state: Mapping[str, Any]) -> None:
    for name, tensor in tensors_of(model, Plan()).items():
        if name in state and state[name].shape != tensor.shape:
            raise ValueError(
                f"Expected the checkpoint to be of the compact model, but got {name} of "
                f"{tuple(state[name].shape)} for {tuple(tensor.shape)}. Load it into a new model "
                "of full size."
            )


def _follow(model: nn.Module, plan: Plan, stored: Mapping[str, Stored]) -> None:
    """Do what a plan says, if it fits, and hold the stored tensors."""
    Fitting(model, plan, stored).require()
    surgery = Surgery(model)
    try:
        surgery.apply(plan)
        for name, tensor in tensors_of(model, plan).items():
            surgery.replace(tensor, _loaded(stored[name]).to(tensor.device, copy=True))
        flatten_recurrent(model)
    except (RewriteError, RuntimeError, TypeError) as error:
        surgery.undo()
        raise ValueError(
            f"Expected `model` to take the plan of the file, but {error}. Use the version of the "
            "code that it was compacted with."
        ) from error
    except BaseException:
        surgery.undo()
        raise


def _loaded(stored: Stored) -> Tensor:
    return unpack_tensor(stored) if isinstance(stored, Packed) else stored


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
