"""OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.formats.base import Format, Runner
from lightning_prune.formats.program import Exportable


class OpenVino(Format):
    """An ``.xml`` file of the graph and a ``.bin`` file of the weights, in the model's own type."""

    suffix: ClassVar[str] = ".xml"
    packages: ClassVar[tuple[str, ...]] = ("openvino",)
    extra: ClassVar[str | None] = "export-openvino"

    @override
    def write(self, exportable: Exportable, path: Path) -> None:
        """Convert the program, and give its inputs and outputs their names and sizes."""
        import openvino

        model = openvino.convert_model(exportable.program)
        shapes = {}
        for port, (name, shape) in zip(model.inputs, exportable.shapes.items(), strict=True):
            port.get_tensor().set_names({name})
            shapes[name] = openvino.PartialShape([-1 if size is None else size for size in shape])
        for port, name in zip(model.outputs, exportable.output_names, strict=True):
            port.get_tensor().set_names({name})
        model.reshape(shapes)
        openvino.save_model(model, path, compress_to_fp16=False)

    @override
    def load(self, path: Path) -> Runner:
        """Run the file on the CPU, without the half precision that OpenVINO prefers on some."""
        import openvino

        options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = openvino.Core().compile_model(path, "CPU", options)
        taken = {name for port in compiled.inputs for name in port.get_names()}

        def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
            feed = {name: value.numpy() for name, value in inputs.items() if name in taken}
            results = compiled(feed)
            return [torch.from_numpy(results[port].copy()) for port in compiled.outputs]

        return run

    @override
    def files(self, path: Path) -> list[Path]:
        """Return the graph and the weights."""
        return [path, path.with_suffix(".bin")]
