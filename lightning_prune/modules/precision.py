"""Precision: float32 in full, even where less is faster.

GPUs multiply float32 with ten bits of mantissa: in convolutions by default, in products of matrices
where `torch.set_float32_matmul_precision` allows it, and CPUs may take bfloat16 then. So rounded,
models of other widths differ by a thousandth.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lightning_prune.modules.switch import Switch


@contextmanager
def _in_full() -> Iterator[None]:
    before = _get()
    _set(before, full=True)
    try:
        yield
    finally:
        _set(before)


full_precision = Switch(_in_full)
"""Lets float32 be computed in float32."""


def _get() -> dict[str, Any]:
    """Return what is set, by the older names; by the newer ones where those were used."""
    try:
        with warnings.catch_warnings(action="ignore"):  # that there are newer names
            return {
                "matmul": torch.get_float32_matmul_precision(),
                "cudnn": torch.backends.cudnn.allow_tf32,
            }
    except RuntimeError:  # the older names raise then
        return {name: part.fp32_precision for name, part in _parts().items()}


def _set(values: dict[str, Any], *, full: bool = False) -> None:
    """Set what `_get` returned, or full precision by the same names."""
    if "matmul" not in values:
        for name, part in _parts().items():
            part.fp32_precision = "ieee" if full else values[name]
        return
    with warnings.catch_warnings(action="ignore"):
        torch.set_float32_matmul_precision("highest" if full else values["matmul"])
        torch.backends.cudnn.allow_tf32 = not full and values["cudnn"]


def _parts() -> dict[str, Any]:
    """Return what has a precision of its own, by names of ours."""
    backends: Any = torch.backends
    return {
        "cuda products": backends.cuda.matmul,
        "cuda convolutions": backends.cudnn.conv,
        "cuda recurrent layers": backends.cudnn.rnn,
        "cpu products": backends.mkldnn.matmul,
        "cpu convolutions": backends.mkldnn.conv,
        "cpu recurrent layers": backends.mkldnn.rnn,
    }
