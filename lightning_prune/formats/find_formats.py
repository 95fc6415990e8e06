"""The formats by name, and which of them can be used here."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_prune.arguments import check_list
from lightning_prune.formats.base import Format
from lightning_prune.formats.executorch import ExecuTorch
from lightning_prune.formats.int8 import DynamicInt8, StaticInt8
from lightning_prune.formats.onnx import Onnx
from lightning_prune.formats.openvino import OpenVino
from lightning_prune.formats.torch_export import TorchExport

FORMATS: dict[str, Format] = {
    "onnx": Onnx(),
    "onnx-int8-dynamic": DynamicInt8(),
    "onnx-int8-static": StaticInt8(),
    "openvino": OpenVino(),
    "executorch": ExecuTorch(),
    "torch.export": TorchExport(),
}
"""The formats by name."""


def find_formats(names: Sequence[str]) -> dict[str, Format]:
    """Return formats by name, once it is known that they can be used here.

    Args:
        names: keys of `FORMATS`, at least one.

    Raises:
        ValueError: if there is none, or one is not known.
        TypeError: if they are no list of names.
        ModuleNotFoundError: if what one of them needs is not installed.
    """
    check_list("formats", names)
    if not names or not FORMATS.keys() >= set(names):
        raise ValueError(
            f"Expected `formats` to hold some of {', '.join(FORMATS)}, but got {list(names)}. "
            "Every format makes one file."
        )
    found = {name: FORMATS[name] for name in names}
    for name, one in found.items():
        if one.missing():
            raise ModuleNotFoundError(
                f"Expected `formats` to need nothing but what is installed, but got {name!r}, "
                f"which needs {', '.join(one.missing())}. Run "
                f"pip install 'lightning-prune[{one.extra}]'."
            )
    return found
