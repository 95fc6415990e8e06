"""Compact files: tensors, a plan and a proof in one safetensors file, with checksums of all.

The checksums find damage. They do not tell who wrote a file: what a plan may do is checked by
itself when it is loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_prune.compaction.packing import Packed
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.plan_json import plan_from_json, plan_to_json

FORMAT = "lightning_prune/3"
FORMAT_PACKED = "lightning_prune/3 packed"
_TEXTS = ("plan", "tied", "proof")

Stored = Tensor | Packed
"""A tensor of a file, as it is or packed."""


@dataclass(frozen=True, eq=False)
class CompactFile:
    """What a file holds.

    Args:
        tensors: by name, all of them packed or none; those that share memory once.
        tied: further names of the same tensors.
        plan: what brings a model of full size to these shapes.
        proof: versions, errors and whatever else tells where the file comes from.
    """

    tensors: Mapping[str, Stored]
    tied: Mapping[str, str]
    plan: Plan
    proof: Mapping[str, Any]

    @property
    def stored(self) -> dict[str, Stored]:
        """Every tensor under each of its names."""
        return {**self.tensors, **{name: self.tensors[it] for name, it in self.tied.items()}}

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file under another name beside ``path``, then put it there in one step.

        Raises:
            OSError: if it cannot be written; a file that was there stays as it was.
        """
        texts = {
            "plan": plan_to_text(self.plan),
            "tied": json.dumps(dict(self.tied)),
            "proof": json.dumps(dict(self.proof)),
        }
        packed = {n: t.to_json() for n, t in self.tensors.items() if isinstance(t, Packed)}
        if packed:
            texts["packed"] = json.dumps(packed)
        data = {n: t.data if isinstance(t, Packed) else t for n, t in self.tensors.items()}
        format_ = FORMAT_PACKED if packed else FORMAT
        sums = json.dumps(checksums(data, texts))
        target = Path(path)
        beside = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        try:
            _save(data, beside, {"format": format_, **texts, "sha256": sums})
            _flush(beside)
            os.replace(beside, target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        with contextlib.suppress(OSError):  # not every system opens folders
            _flush(target.parent)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CompactFile:
        """Read a file, and check its form and its checksums.

        Args:
            path: the file.

        Returns:
            What it holds.

        Raises:
            ValueError: if it is damaged, or was not written by `write`.
        """
        metadata, data = _opened(path)
        is_packed = metadata.get("format") == FORMAT_PACKED
        if not is_packed:
            require_format(metadata.get("format", "one without a format"))
        names = (*_TEXTS, "packed") if is_packed else _TEXTS
        texts = {name: metadata.get(name, "") for name in names}
        if _parsed(metadata.get("sha256", ""), "sha256") != checksums(data, texts):
            raise ValueError(
                "Expected `path` to be a file with the checksums that it was written with, but got "
                "other contents. It is damaged: write it again with `save_compact`."
            )
        tied = _parsed(texts["tied"], "tied")
        plan = plan_from_text(texts["plan"])
        tensors: Mapping[str, Stored] = data
        if is_packed:
            tensors = _packed(data, _parsed(texts["packed"], "packed"))
        return cls(tensors, _names(tied, tensors), plan, _parsed(texts["proof"], "proof"))


def require_file(path: str | os.PathLike[str]) -> None:
    """Require that a path is that of a file, and not of a device without an end.

    Raises:
        ValueError: if it is not.
        FileNotFoundError: if nothing is there.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(
            f"Expected `path` to be a file, but got {os.fspath(path)!r}, which is a folder or a "
            "device. Name what `save_compact` has written."
        )


def require_format(found: Any) -> None:
    """Require that a file is of the format of this version.

    Raises:
        ValueError: if it is not.
    """
    if found != FORMAT:
        raise ValueError(
            f"Expected `path` to be a file in the format {FORMAT}, but got {found}. Write it with "
            "`save_compact` of this version."
        )


def plan_to_text(plan: Plan) -> str:
    """Return a plan as the text that files hold."""
    return json.dumps(plan_to_json(plan))


def plan_from_text(text: str) -> Plan:
    """Return the plan that a text stands for.

    Raises:
        ValueError: if it is not of the form that it must have.
    """
    return plan_from_json(_parsed(text, "plan"))


def checksums(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> dict[str, str]:
    """Return a checksum of every tensor under its name, and of the texts.

    Args:
        tensors: by name; type, shape and contents count.
        texts: likewise; those of a file are its plan, its ties and its proof.
    """
    sums = {f"tensor {name}": _checksum(tensor) for name, tensor in sorted(tensors.items())}
    for name, text in texts.items():
        sums[name] = hashlib.sha256(text.encode()).hexdigest()
    return sums


def _checksum(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous()
    found = hashlib.sha256(f"{data.dtype} {tuple(data.shape)} ".encode())
    flat = torch.view_as_real(data) if data.is_complex() else data
    found.update(flat.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _opened(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # whatever a damaged header makes of it
        raise ValueError(
            f"Expected `path` to be a safetensors file, but got one that cannot be read: {error}. "
            "Write it again with `save_compact`."
        ) from error


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(name, "JSON") from error
    if not isinstance(found, dict):
        raise _malformed(name, "a JSON object")
    return found


def _packed(data: Mapping[str, Tensor], found: Mapping[str, Any]) -> dict[str, Stored]:
    if data.keys() != found.keys():
        raise _malformed("packed", "about the tensors that there are")
    return {name: Packed.from_json(frames, found[name]) for name, frames in data.items()}


def _names(tied: dict[str, Any], tensors: Mapping[str, Stored]) -> dict[str, str]:
    for name, first in tied.items():
        if name in tensors or not isinstance(first, str) or first not in tensors:
            raise _malformed("tied", "further names of tensors")
    return tied


def _malformed(name: str, what: str) -> ValueError:
    return ValueError(
        f"Expected `{name}` of the file to be {what}, but got something else. Write the file with "
        "`save_compact`."
    )


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        raise OSError(
            f"Expected a file to be written in {str(path.parent)!r}, but got {error}. Free space "
            "there, or choose another folder; the model is as it was."
        ) from error


def _flush(path: Path) -> None:
    """Wait until what was written is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
