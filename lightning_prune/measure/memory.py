"""Peak memory: how much a forward pass takes at once beside the weights and the inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from lightning_prune.modules.nesting import tensors_in


def peak_bytes(run: Callable[[], object], tensors: Iterable[Tensor]) -> int | None:
    """Return the most bytes that the results of operations take at once.

    On CUDA that is what the allocator counts, the workspace of kernels included; its statistic of
    the peak (`torch.cuda.max_memory_allocated`) starts anew. On the CPU it is the sum over the
    results that are alive after an operation, without what a kernel takes and frees by itself.

    Args:
        run: runs the model once.
        tensors: those that were there before: parameters, buffers, inputs.

    Returns:
        The number of bytes; ``None`` on other devices, or on several.
    """
    known = list(tensors)
    device, *others = {t.device for t in known} or {torch.device("cpu")}
    if others or device.type not in {"cpu", "cuda"}:
        return None
    if device.type == "cpu":
        with _Living(known) as living:
            run()
        peak: int = living.peak  # the mode is typed as Any
        return peak
    before = int(torch.cuda.memory_allocated(device))
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return int(torch.cuda.max_memory_allocated(device)) - before


class _Living(TorchDispatchMode):
    """Follows which results of operations are alive.

    Args:
        known: tensors that do not count.
    """

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._known = {StorageWeakRef(t.untyped_storage()).cdata for t in known}
        self._sizes: dict[StorageWeakRef, int] = {}

    @override
    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            if tensor.layout != torch.strided:
                continue
            storage = tensor.untyped_storage()
            reference = StorageWeakRef(storage)
            if reference.cdata not in self._known:
                self._sizes[reference] = storage.nbytes()
        self._sizes = {it: size for it, size in self._sizes.items() if not it.expired()}
        self.peak = max(self.peak, sum(self._sizes.values()))
        return result
