"""Container: a safetensors file taken apart, changed and put together again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from torch import Tensor

from lightning_prune.compaction.compact_file import checksums


@dataclass(eq=False)
class Container:
    """The parts of a compact file.

    Args:
        tensors: by name.
        metadata: texts by name.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    @classmethod
    def of(cls, data: bytes) -> Container:
        """Return the parts of a file."""
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        return cls(safetensors.torch.load(data), metadata)

    @property
    def plan(self) -> dict[str, Any]:
        """The plan, to look at."""
        plan: dict[str, Any] = json.loads(self.metadata["plan"])
        return plan

    @property
    def is_packed(self) -> bool:
        """Whether the tensors are frames of packed ones."""
        return "packed" in self.metadata

    def set_plan(self, plan: Any) -> None:
        """Put another plan in the place of this one."""
        self.metadata["plan"] = json.dumps(plan)

    def recompute(self) -> None:
        """Bring the checksums up to date, as whoever writes files by himself can."""
        names = ("plan", "tied", "proof", *(["packed"] if self.is_packed else []))
        texts = {name: self.metadata.get(name, "") for name in names}
        self.metadata["sha256"] = json.dumps(checksums(self.tensors, texts))

    def packed(self) -> bytes:
        """Return the bytes of a file with these parts."""
        return safetensors.torch.save(self.tensors, self.metadata)
