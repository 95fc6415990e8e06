"""Record one forward pass as a graph of ATen operations.

A dispatch mode sees operations as they are called (`linear`, `conv2d`, `batch_norm`) where autograd
takes none of them apart (`composite_operations`), and does not mind data-dependent control flow. An
operation with a coupling rule is kept whole; one without is decomposed as far as it goes. Recording
decides nothing.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.weak import TensorWeakRef, WeakTensorKeyDictionary
from typing_extensions import override

from lightning_prune.coupling.foreach import is_of_lists, one_by_one
from lightning_prune.coupling.graph import Graph, Kind, Node, Ref, Value
from lightning_prune.coupling.sites import Sites
from lightning_prune.modules.caches import results
from lightning_prune.modules.fake import fake_mode, faking
from lightning_prune.modules.fast_paths import composite_operations
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.nesting import tensors_in
from lightning_prune.modules.operations import base_name, memory_of, written_tensors
from lightning_prune.modules.outlining import Outlining

_SIMPLE = frozenset({type(None), bool, int, float, str, torch.dtype, torch.device})


def record(
    model: nn.Module,
    inputs: ExampleInputs,
    has_rule: Callable[[str], bool],
    *,
    outlining: Outlining | None = None,
    lender: nn.Module | None = None,
) -> Graph:
    """Run ``model`` once and return what it did.

    The model runs as it is: choose its training flags before, and pass a twin when its modules
    must not be touched.

    Args:
        model: the module to run.
        inputs: arguments for its ``forward``, on its device.
        has_rule: tells whether an operation, by its base name, is to be kept whole.
        outlining: makes up the numbers that costly operations would compute; None to compute them.
        lender: whose parameters the model shares, and must not write to; None for nobody's.

    Returns:
        The recorded graph.

    Raises:
        NumbersNeededError: if made-up numbers would decide what runs.
        LentParameterError: before a parameter of the lender is written to.
    """
    recorder = _Recorder(model, has_rule, lender)
    mode = fake_mode([*model.parameters(), *inputs.tensors])
    with composite_operations(), faking(mode):
        inputs = inputs.map(torch.clone)  # the model may write into them
        recorder.graph.inputs.extend(recorder.ref(t, "input") for t in inputs.tensors)
        if outlining is not None:
            outlining.follow(inputs.tensors)
        with outlining or contextlib.nullcontext(), recorder:
            output = results(inputs, model)
        if outlining is not None:
            outlining.finish()
        recorder.graph.outputs.extend(
            recorder.ref(t, "activation") for t in tensors_in(output, functions=True)
        )
    return recorder.graph


class LentParameterError(BaseException):
    """A model is about to write to parameters of another; no `except Exception` holds it up.

    Args:
        names: of the parameters.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__(*names)
        self.names = names


class OpObserver(TorchDispatchMode):
    """A dispatch mode that sees operations as they are recorded.

    One without a coupling rule is run as the ones that it is made of.

    Args:
        has_rule: tells whether an operation, by its base name, is to be kept whole.
    """

    def __init__(self, has_rule: Callable[[str], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._has_rule = has_rule

    @override
    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":  # a fake tensor was asked for its device
            return func(*args, **kwargs)
        if not self._has_rule(base_name(func)) and func._can_decompose():
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if is_of_lists(func):
            with self:
                result = one_by_one(func, args, kwargs)
            if result is not NotImplemented:
                return result
        return self.see(func, args, kwargs)

    @abstractmethod
    def see(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation, and return what it returns.

        Args:
            func: the operation.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """


class _Recorder(OpObserver):
    """The dispatch mode that writes the graph."""

    def __init__(
        self, model: nn.Module, has_rule: Callable[[str], bool], lender: nn.Module | None
    ) -> None:
        super().__init__(has_rule)
        self._lent: dict[int, list[str]] = {}
        for name, parameter in lender.named_parameters() if lender is not None else ():
            self._lent.setdefault(memory_of(parameter), []).append(name)
        self.graph = Graph()
        self._numbers: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._living: dict[int, list[TensorWeakRef]] = {}
        self._named: dict[int, tuple[Kind, str]] = {}
        for name, buffer in model.named_buffers():
            self._named[id(buffer)] = ("buffer", name)
        for name, parameter in model.named_parameters():
            self._named[id(parameter)] = ("parameter", name)
        self._sites = Sites(model)

    def ref(self, tensor: Tensor, kind: Kind) -> Ref:
        """Return the reference of ``tensor``, giving it a number when it is new."""
        number = self._numbers.get(tensor)
        return Ref(number) if number is not None else self._number(tensor, kind)

    def _number(self, tensor: Tensor, kind: Kind) -> Ref:
        known = self._named.get(id(tensor)) if kind == "constant" else None
        ref = Ref(len(self.graph.values))
        named, name = known if known is not None else (kind, None)
        number = tensor.item() if named == "constant" and _is_number(tensor) else None
        self.graph.values.append(Value(tuple(tensor.shape), tensor.dtype, named, name, number))
        self._numbers[tensor] = ref.index
        self._living.setdefault(memory_of(tensor), []).append(TensorWeakRef(tensor))
        return ref

    def _aliases(self, tensor: Tensor) -> list[Ref]:
        """Return the values, other than ``tensor``, that live in the same memory."""
        others = [t for r in self._living.get(memory_of(tensor), []) if (t := r()) is not None]
        return [self.ref(t, "constant") for t in others if t is not tensor]

    @override
    def see(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Write the operation into the graph."""

        def as_input(tensor: Tensor) -> Ref:
            return self.ref(tensor, "constant")

        recorded_args, recorded_kwargs = mapped(args, as_input), mapped(kwargs, as_input)
        written = written_tensors(func, args, kwargs)
        lent = [name for tensor in written for name in self._lent.get(memory_of(tensor), ())]
        if lent:
            raise LentParameterError(lent)
        output = func(*args, **kwargs)
        aliases = tuple(a for tensor in written for a in self._aliases(tensor))
        for tensor in written:
            self._number(tensor, "activation")

        outputs = mapped(output, lambda tensor: self.ref(tensor, "activation"))
        site = self._sites.here()
        module = site.module if site is not None else ""
        self.graph.nodes.append(
            Node(
                func,
                recorded_args,
                recorded_kwargs,
                outputs,
                module,
                aliases,
                self._sites.line(),
                site,
            )
        )
        return output


def mapped(nested: Any, transform: Callable[[Tensor], Any]) -> Any:
    """Return a nesting of arguments with every tensor replaced.

    Args:
        nested: arguments of an operation, or what it returned.
        transform: returns what takes the place of a tensor.
    """
    if isinstance(nested, Tensor):
        return transform(nested)
    kind = type(nested)
    if kind in (tuple, list):
        return kind([mapped(one, transform) for one in nested])
    if kind is dict:
        return {key: mapped(one, transform) for key, one in nested.items()}
    if kind in _SIMPLE:
        return nested
    return tree_map(lambda leaf: transform(leaf) if isinstance(leaf, Tensor) else leaf, nested)


def _is_number(tensor: Tensor) -> bool:
    """Tell whether a tensor holds one number that can be read without waiting for a device."""
    return (
        type(tensor) is Tensor
        and tensor.numel() == 1
        and tensor.device.type == "cpu"
        and not tensor.is_complex()
    )
