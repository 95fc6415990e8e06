"""Eight bits, by ONNX Runtime's own quantiser, which works on the very file that ships."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from typing_extensions import override

from lightning_prune.formats.onnx import Onnx
from lightning_prune.formats.program import Exportable


class Quantized(Onnx):
    """An ``.onnx`` file whose weights are of eight bits, each output channel with a scale."""

    exact: ClassVar[bool] = False

    @override
    def write(self, exportable: Exportable, path: Path) -> None:
        """Write it in floating numbers, fold what is constant, then quantise."""
        from onnxruntime.quantization.shape_inference import quant_pre_process

        with TemporaryDirectory() as folder:
            full, folded = Path(folder, "full.onnx"), Path(folder, "folded.onnx")
            super().write(exportable, full)
            quant_pre_process(full, folded, skip_symbolic_shape=True)
            self.quantize(folded, path, exportable)

    @abstractmethod
    def quantize(self, full: Path, path: Path, exportable: Exportable) -> None:
        """Write the quantised file.

        Args:
            full: the file in floating numbers.
            path: where to write.
            exportable: what was exported, with its calibration.
        """


class DynamicInt8(Quantized):
    """Inputs of layers get a scale from their values in every run: for LSTMs and transformers.

    Convolutions stay as they are: with scales of every run, ONNX Runtime computes them more slowly
    than in floating numbers.
    """

    suffix: ClassVar[str] = ".int8-dynamic.onnx"

    @override
    def quantize(self, full: Path, path: Path, exportable: Exportable) -> None:
        """Quantise products, LSTMs and embeddings."""
        from onnxruntime.quantization import quantize_dynamic

        kinds = ["MatMul", "Gemm", "LSTM", "Gather"]
        quantize_dynamic(full, path, op_types_to_quantize=kinds, per_channel=True)


class StaticInt8(Quantized):
    """Inputs of layers have a scale from calibration batches: for convolutional networks.

    They are unsigned, since ONNX Runtime has no fast convolution of signed ones on x86.
    """

    suffix: ClassVar[str] = ".int8-static.onnx"
    calibrated: ClassVar[bool] = True

    @override
    def quantize(self, full: Path, path: Path, exportable: Exportable) -> None:
        """Run the calibration batches, then quantise whatever ONNX Runtime can but norms."""
        from onnxruntime.quantization import QuantType, quantize_static
        from onnxruntime.quantization.registry import QDQRegistry

        quantize_static(
            full,
            path,
            _Batches(exportable),
            op_types_to_quantize=[kind for kind in QDQRegistry if "Normalization" not in kind],
            per_channel=True,
            activation_type=QuantType.QUInt8,
        )


class _Batches:
    """Calibration batches, as ONNX Runtime asks for them."""

    def __init__(self, exportable: Exportable) -> None:
        self._left = iter([exportable.named(batch) for batch in exportable.calibration])

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._left, None)
        return None if batch is None else {name: value.numpy() for name, value in batch.items()}
