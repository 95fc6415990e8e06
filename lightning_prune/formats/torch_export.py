"""torch's own format, which it loads without the model's code: in Python, and compiled from C++."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.formats.base import Format, Runner
from lightning_prune.formats.program import Exportable
from lightning_prune.modules.nesting import map_tensors, tensors_in


class TorchExport(Format):
    """A ``.pt2`` archive, which `torch.export.load` reads."""

    suffix: ClassVar[str] = ".pt2"

    @override
    def write(self, exportable: Exportable, path: Path) -> None:
        """Save the program."""
        torch.export.save(exportable.program, path)

    @override
    def load(self, path: Path) -> Runner:
        """Run the program as it is, uncompiled."""
        program = torch.export.load(path)
        module = program.module()

        def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
            values = iter(inputs.values())
            args, kwargs = map_tensors(program.example_inputs, lambda _: next(values))
            return tensors_in(module(*args, **kwargs))

        return run
