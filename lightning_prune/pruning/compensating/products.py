"""Products: the places where a model multiplies what it computes with a weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typing_extensions import override

from lightning_prune.modules.names import tensors_by_any_name
from lightning_prune.pruning.compensating.linear_maps import Convolution, LinearMap, MatrixProduct

_NORMS = ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")


@dataclass(frozen=True)
class WeightView:
    """A weight, or a part of it, in the shape in which a product takes it.

    Args:
        name: of the parameter.
        size: of the view.
        stride: of the view.
        offset: of its first element behind that of the parameter.
    """

    name: str
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def of(self, tensor: Tensor) -> Tensor:
        """Return the same elements of a tensor that lies in memory as the parameter does."""
        return tensor.as_strided(self.size, self.stride, tensor.storage_offset() + self.offset)


@dataclass(frozen=True, eq=False)
class SeenProduct:
    """A product, as it is computed.

    Args:
        view: the weight.
        linear_map: how it is read.
        inputs: what is multiplied with it.
        outputs: the result, with the bias.
        bias: what is added, if it is a parameter.
        operands: weight and bias as they are passed; the latter may be None.
        added: what it is added to at once, as the stream of a residual branch, in the shape of the
            outputs; None if it is not.
    """

    view: WeightView
    linear_map: LinearMap
    inputs: Tensor
    outputs: Tensor
    bias: WeightView | None
    operands: tuple[Tensor, Tensor | None]
    added: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """How many bytes the inputs and outputs have."""
        return self.inputs.nbytes + self.outputs.nbytes


class Products(TorchDispatchMode):
    """A dispatch mode that shows every product with one of some weights.

    It is shown when something other than a view reads it, or at the end of the run.

    Args:
        model: the model that runs.
        names: of the weights.
        see: called with each product. Where it returns True, the product is computed again.

    Attributes:
        others: operations that read one of the weights and are no product, by its name.
        norms: names of the running means of batch norms that read a product at once, by view.
    """

    def __init__(
        self, model: nn.Module, names: Iterable[str], see: Callable[[SeenProduct], bool]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tensors = tensors_by_any_name(model)
        self._names = list(names)
        self._see = see
        self._last: SeenProduct | None = None
        self._again: Callable[[], Tensor] | None = None
        self.others: dict[str, str] = {}
        self.norms: dict[WeightView, str] = {}

    @override
    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        if not (func.is_view or name == "_unsafe_view"):
            self._show_if_read(name, args, kwargs)
        outputs = func(*args, **(kwargs or {}))
        if name in _NORMS:
            self._note_norm(args)
        call = None if kwargs else self._call(name, args, outputs)
        if call is not None:
            self._show(None)
            self._last, self._again = call, partial(func, *args)
        elif not func.is_view:
            self._note_other(name, args)
        return outputs

    @override
    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        if error[0] is None:
            self._show(None)

    def _show_if_read(self, name: str, args: tuple[Any, ...], kwargs: Any) -> None:
        """Show the last product, if an operation reads it."""
        last = self._last
        if last is None or self._again is None:
            return
        memory = last.outputs.untyped_storage()._cdata
        read = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        mine = [t.untyped_storage()._cdata == memory for t in read]
        if any(mine):
            plain = name in ("add", "add_") and not kwargs and mine.count(True) == 1
            other = read[mine.index(False)] if plain and len(read) == 2 else None
            self._show(None if other is None else _like(other, read[mine.index(True)], last))

    def _show(self, added: Tensor | None) -> None:
        """Show the last product, unless it has been shown."""
        last, again = self._last, self._again
        self._again = None
        if last is not None and again is not None and self._see(replace(last, added=added)):
            last.outputs.copy_(again())  # what views it sees the new values, too

    def _call(self, name: str, args: tuple[Any, ...], outputs: Any) -> SeenProduct | None:
        """Return a product with one of the weights."""
        bias = None
        if name == "mm":
            inputs, weight = args
        elif name == "addmm":
            bias, inputs, weight = args[:3]
        elif name == "convolution":
            inputs, weight, bias = args[:3]
        else:
            return None
        view = self.view(weight)
        if view is None:
            return None
        linear_map = Convolution.of(weight, args[3:]) if name == "convolution" else MatrixProduct()
        noted = self._view(bias, self._tensors)
        return SeenProduct(view, linear_map, inputs, outputs, noted, (weight, bias))

    def view(self, tensor: Tensor | None) -> WeightView | None:
        """Return a tensor as a view of one of the weights, ``None`` if it is none."""
        return self._view(tensor, self._names)

    def _view(self, tensor: Tensor | None, names: Iterable[str]) -> WeightView | None:
        """Return a tensor as a view, if it lies in the memory of one of the weights."""
        if tensor is None:
            return None
        memory = tensor.untyped_storage()._cdata
        for name in names:
            weight = self._tensors[name]
            if weight.untyped_storage()._cdata == memory and weight.dtype == tensor.dtype:
                offset = tensor.storage_offset() - weight.storage_offset()
                end = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
                if offset >= 0 and offset + end < weight.numel():
                    return WeightView(name, tuple(tensor.shape), tensor.stride(), int(offset))
        return None

    def _note_norm(self, args: tuple[Any, ...]) -> None:
        last, mean = self._last, args[3]
        if last is not None and args[0] is last.outputs and mean is not None:
            found = [name for name, tensor in self._tensors.items() if tensor is mean]
            self.norms.update((last.view, name) for name in found[:1])

    def _note_other(self, name: str, args: tuple[Any, ...]) -> None:
        for leaf in tree_leaves(args):
            view = self._view(leaf, self._names) if isinstance(leaf, Tensor) else None
            if view is not None:
                self.others.setdefault(view.name, name)


def _like(added: Tensor, view: Tensor, product: SeenProduct) -> Tensor | None:
    """Return what is added to a view of all outputs in their shape, None if it has another."""
    outputs = product.outputs
    if added.shape != view.shape or view.numel() != outputs.numel():
        return None
    if view.shape == outputs.shape and view.stride() == outputs.stride():
        return added
    in_order = view.is_contiguous() and outputs.is_contiguous()
    return added.reshape(outputs.shape) if in_order else None
