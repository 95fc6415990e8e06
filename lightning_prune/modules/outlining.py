"""Outlining: run a model for its shapes, without the numbers that costly operations would compute.

What a recording needs of a pass is which operations run, on what and in which sizes. As long as
none of this depends on computed numbers, costly operations need not run: any tensor of that shape
stands for their result, of zeros if another operation reads it. `Outlining` follows where such
made-up numbers go. Before one could decide anything, in Python, as an index or as a condition, the
run ends: it must then be made with numbers. What ``torch.tensor([...])``, dlpack, a pickle or code
outside of torch reads is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from lightning_prune.modules.operations import base_name, memory_of, written_tensors
from lightning_prune.modules.result_shapes import PLAIN, outlined

_SHAPES_ALONE = frozenset(
    f"aten::{name}"
    for name in (
        "empty_like zeros_like ones_like full_like rand_like randn_like "
        "new_empty new_zeros new_ones new_full new_empty_strided"
    ).split()
)
"""Operations that look at sizes and types alone, so that their results are not made up."""

_READING = frozenset(
    f"aten::{name}"
    for name in "resolve_conj resolve_neg set bernoulli multinomial binary_cross_entropy".split()
)
"""Operations before numbers are read as a list or an array, or copied past what a mode sees, and
those that refuse some numbers."""

_KNOWN = frozenset({"aten", "prims", "torchvision"})
"""Where operations come from that are known to look at sizes alone, or to say so."""

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
    """Lets operations return what they would, but for numbers, which may be made up.

    Only what depends on an input and on a parameter is made up: of what does not, as of a table of
    positions or of weights that were merged, code outside of the model may keep the result.

    Args:
        lender: whose parameters the run shares, none of which is to be written to.
    """

    def __init__(self, lender: nn.Module | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._lent = set() if lender is None else {memory_of(p) for p in lender.parameters()}
        self._made_up: dict[int, StorageWeakRef] = {}  # a reference keeps the key from coming again
        self._of_parameters: dict[int, StorageWeakRef] = {}
        self._of_inputs: dict[int, StorageWeakRef] = {}
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
        written = written_tensors(func, args, kwargs)
        if any(memory_of(tensor) in self._lent for tensor in written):
            self._end(f"{base_name(func)} writes to a parameter")
        given = _tensors((args, kwargs))
        made_up = [tensor for tensor in given if self.is_made_up(tensor)]
        of_parameter, of_input = self._reads_parameter(given), self._reads_input(given)
        result = outlined(func, args, kwargs) if of_parameter and of_input else None
        if result is not None:
            if self._make_up(result) and not func._schema.is_mutable:
                self._unset.add(result.untyped_storage()._cdata)
            return result
        if base_name(func) in _SHAPES_ALONE:
            return func(*args, **kwargs)
        result = self._run(func, args, kwargs, made_up) if made_up else func(*args, **kwargs)
        updated = given if base_name(func) in _UPDATING else written
        for tensor in (*_tensors(result), *updated):
            if made_up:
                self._make_up(tensor)
            else:
                self._derive(tensor, of_parameter=of_parameter, of_input=of_input)
        return result

    def _run(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], made_up: list[Tensor]
    ) -> Any:
        """Run an operation on made-up tensors, if nothing is decided by it."""
        name = base_name(func)
        if name in _READING:
            self._end(name)
        if not (name in _VIEWING or (name == "aten::dropout" and not args[-1])):
            self._set(made_up)
        try:
            result = func(*args, **kwargs)
        except Exception as error:  # other numbers might pass
            self._end(f"{name}: {error}")
        if not (name in _VIEWING or _decides_nothing(func, made_up, result)):
            self._end(name)
        return result

    def follow(self, inputs: Iterable[Tensor]) -> None:
        """Take tensors for the inputs of the model; call it before the run.

        Args:
            inputs: what the model is called with, or what that is cloned from during the run.
        """
        for tensor in inputs:
            self._derive(tensor, of_parameter=False, of_input=True)

    def finish(self) -> None:
        """End the run.

        Raises:
            NumbersNeededError: if a made-up number was about to decide something, and code of the
                model has caught the error.
        """
        if self._needed:
            raise NumbersNeededError(self._needed)

    def refuse(self, func: OpOverload, given: Iterable[Tensor]) -> None:
        """End the run if an operation that reads numbers is given made-up ones.

        Args:
            func: the operation.
            given: tensors that it takes.

        Raises:
            NumbersNeededError: if it is.
        """
        if any(map(self.is_made_up, given)):
            self._end(base_name(func))

    def _end(self, why: str) -> NoReturn:
        self._needed = why
        raise NumbersNeededError(why)

    def _reads_parameter(self, given: Iterable[Tensor]) -> bool:
        """Tell whether a tensor is a parameter, or was computed of one."""
        found = False
        for tensor in given:
            if type(tensor) is nn.Parameter:
                self._derive(tensor, of_parameter=True, of_input=False)
            found |= tensor.untyped_storage()._cdata in self._of_parameters
        return found

    def _reads_input(self, given: Iterable[Tensor]) -> bool:
        """Tell whether a tensor is an input of the model, or was computed of one."""
        return any(tensor.untyped_storage()._cdata in self._of_inputs for tensor in given)

    def _derive(self, tensor: Tensor, *, of_parameter: bool, of_input: bool) -> None:
        """Note of what the numbers in the memory of a tensor were computed."""
        memory = tensor.untyped_storage()
        if of_parameter and memory._cdata not in self._of_parameters:
            self._of_parameters[memory._cdata] = StorageWeakRef(memory)
        if of_input and memory._cdata not in self._of_inputs:
            self._of_inputs[memory._cdata] = StorageWeakRef(memory)

    def _make_up(self, tensor: Tensor) -> bool:
        """Note that numbers in the memory of a tensor are made up; tell whether that is new."""
        self._derive(tensor, of_parameter=True, of_input=True)
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


class Watching(TorchDispatchMode):
    """Ends a run where made-up numbers are about to be read, above modes that take that apart.

    Args:
        outlining: the mode below, which knows the numbers.
    """

    def __init__(self, outlining: Outlining) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._outlining = outlining

    @override
    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if base_name(func) in _READING:
            self._outlining.refuse(func, _tensors((args, kwargs)))
        return func(*args, **kwargs)


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


def _decides_nothing(func: OpOverload, made_up: Iterable[Tensor], result: Any) -> bool:
    """Tell whether an operation on made-up numbers, and what it returned, decide nothing."""
    if func.namespace not in _KNOWN or torch.Tag.dynamic_output_shape in func.tags:
        return False
    is_pointing = base_name(func) in _POINTING  # only its first result must be real numbers
    returned = _leaves(result)[:1] if is_pointing else _leaves(result)
    return all(map(_may_be_made_up, (*made_up, *returned)))


def _may_be_made_up(leaf: Any) -> bool:
    """Tell whether something that an operation returned decides nothing by itself."""
    if not isinstance(leaf, Tensor):
        return leaf is None
    is_number = leaf.is_floating_point() or leaf.is_complex()
    return is_number and leaf.layout == torch.strided
