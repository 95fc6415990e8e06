"""ExecuTorch, for phones and other small devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.formats.base import Format, Runner
from lightning_prune.formats.program import Exportable

_LEAST_ROOM = 8


class ExecuTorch(Format):
    """A ``.pte`` file: what XNNPACK can do is left to it, the rest to portable kernels.

    Memory is planned when the file is written, so the batch has a largest size: twice that of the
    example inputs, and at least 8.
    """

    suffix: ClassVar[str] = ".pte"
    packages: ClassVar[tuple[str, ...]] = ("executorch",)
    extra: ClassVar[str | None] = "export-executorch"

    @override
    def write(self, exportable: Exportable, path: Path) -> None:
        """Lower the program and write it."""
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = exportable.program_up_to(max(_LEAST_ROOM, 2 * exportable.inputs.batch_size))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)

    @override
    def load(self, path: Path) -> Runner:
        """Run the file with the kernels that the package brings."""
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        if portable_lib._threadpool_get_thread_count() != torch.get_num_threads():
            portable_lib._unsafe_reset_threadpool(torch.get_num_threads())
        program = Runtime.get().load_program(path)

        def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
            method = program.load_method("forward")  # which the program keeps, and is kept by none
            return list(method.execute([value.contiguous() for value in inputs.values()]))

        return run
