"""Outlining: run a model for its shapes, without the numbers that costly operations would compute.

What a recording needs of a pass is which operations run, on what and in which sizes. As long as
none of this depends on computed numbers, costly operations need not run: any tensor of that shape
stands for their result, of zeros if another operation reads it. `Outlining` follows where such
made-up numbers go. Before one could decide anything, in Python, as an index or as a condition, the
run ends: it must then be made with numbers. What code outside of torch reads by an address in
memory is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from lightning_prune.modules.operations import base_name, written_arguments
from lightning_prune.modules.result_shapes import PLAIN, outlined

_SHAPES_ALONE = frozenset(
    f"aten::{name}"
    for name in (
        "empty_like zeros_like ones_like full_like rand_like randn_like "
        "new_empty new_zeros new_ones new_full new_empty_strided"
    ).split()
)
"""Operations that look at sizes and types alone, so that their results are not made up."""

_READING = frozenset({"aten::resolve_conj", "aten::resolve_neg", "aten::set"})
"""Operations before numbers are read as a list or an array, or copied past what a mode sees."""

_VIEWING = frozenset(
    f"aten::{name}"
    for name in (
        "transpose t permute view unsqueeze squeeze slice select expand detach alias chunk split "
        "split_with_sizes unbind narrow movedim"
    ).split()
)
"""Operations that look at sizes alone, and whose results lie in the memory of what they view."""

_POINTING = frozenset(f"aten::max_pool{dims}d_with_indices" for dims in (2, 3))
"""Operations that also return where numbers lie, which decides nothing while it is not read."""

_UPDATING = frozenset({"aten::batch_norm", "aten::instance_norm"})
"""Operations that may write into their arguments, though their schemas do not say so."""


_NESTING = frozenset({tuple, list, dict})


class NumbersNeededError(BaseException):
    """A made-up number was about to decide something; no handler of a model's own may catch it."""


class Outlining(TorchDispatchMode):
    """Lets operations return what they would, but for numbers, which may be made up."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made_up: dict[int, StorageWeakRef] = {}  # a reference keeps the key from coming again
        self._unset: set[int] = set()
        self._needed = ""

    @override
    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = outlined(func, args, kwargs)
        if result is not None:
            if self._make_up(result) and not func._schema.is_mutable:
                self._unset.add(result.untyped_storage()._cdata)
            return result
        name, given = base_name(func), _tensors((args, kwargs))
        made_up = [tensor for tensor in given if self.is_made_up(tensor)]
        if name in _SHAPES_ALONE or not made_up:
            return func(*args, **kwargs)
        if not (name in _VIEWING or (name == "aten::dropout" and not args[-1])):
            self._set(made_up)
        result = None if name in _READING else func(*args, **kwargs)
        if name in _READING or not (name in _VIEWING or _decides_nothing(name, made_up, result)):
            self._end(name)
        written = given if name in _UPDATING else _tensors(_written(func, args, kwargs))
        for tensor in (*_tensors(result), *written):
            self._make_up(tensor)
        return result

    def finish(self) -> None:
        """End the run.

        Raises:
            NumbersNeededError: if a made-up number was about to decide something, and code of the
                model has caught the error.
        """
        if self._needed:
            raise NumbersNeededError(self._needed)

    def _end(self, why: str) -> None:
        self._needed = why
        raise NumbersNeededError(why)

    def _make_up(self, tensor: Tensor) -> bool:
        """Note that numbers in the memory of a tensor are made up; tell whether that is new."""
        memory = tensor.untyped_storage()
        if memory._cdata in self._made_up:
            return False
        self._made_up[memory._cdata] = StorageWeakRef(memory)
        return True

    def _set(self, tensors: Iterable[Tensor]) -> None:
        """Let memory hold zeros that nothing was written to."""
        for tensor in tensors:
            memory = tensor.untyped_storage()
            if memory._cdata in self._unset:
                self._unset.remove(memory._cdata)
                torch.empty(0, dtype=torch.uint8).set_(memory).zero_()

    def is_made_up(self, tensor: Tensor) -> bool:
        """Return whether numbers in the memory of a tensor are made up.

        Args:
            tensor: any tensor.

        Raises:
            NumbersNeededError: if it is of a kind of which nothing is known.
        """
        if type(tensor) not in PLAIN or tensor.layout != torch.strided:
            self._end(f"{type(tensor).__name__} of layout {tensor.layout}")
        return tensor.untyped_storage()._cdata in self._made_up


def can_outline(model: nn.Module, inputs: Iterable[Tensor]) -> bool:
    """Return whether a model holds and takes nothing but plain tensors on the CPU.

    Args:
        model: any module.
        inputs: all tensors that it takes.
    """
    held = (*model.parameters(), *model.buffers(), *inputs)
    return all(type(t) in PLAIN and t.device.type == "cpu" for t in held)


def _leaves(nested: Any) -> list[Any]:
    kind = type(nested)
    if kind is dict:
        nested = list(nested.values())
    elif kind not in (tuple, list):
        return [nested]
    found = []
    for one in nested:
        if type(one) in _NESTING:
            found += _leaves(one)
        else:
            found.append(one)
    return found


def _tensors(nested: Any) -> list[Tensor]:
    return [leaf for leaf in _leaves(nested) if isinstance(leaf, Tensor)]


def _decides_nothing(name: str, made_up: Iterable[Tensor], result: Any) -> bool:
    """Tell whether an operation on made-up numbers, and what it returned, decide nothing."""
    returned = _leaves(result)[:1] if name in _POINTING else _leaves(result)
    return all(map(_may_be_made_up, (*made_up, *returned)))


def _may_be_made_up(leaf: Any) -> bool:
    """Tell whether something that an operation returned decides nothing by itself."""
    if not isinstance(leaf, Tensor):
        return leaf is None
    is_number = leaf.is_floating_point() or leaf.is_complex()
    return is_number and leaf.layout == torch.strided


def _written(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return the arguments that an operation writes into, by its schema."""
    given = (args[i] if i < len(args) else kwargs.get(n) for i, n in written_arguments(func))
    return [value for value in given if value is not None]
