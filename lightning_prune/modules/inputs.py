"""Example inputs: one form for the many that a user may give.

A tensor, a tuple (positional arguments), a mapping (keyword arguments) or a `Call` of another
method becomes an `ExampleInputs`; a list holds several of them. Nothing here knows a Trainer or a
data loader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.arguments import check_name
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.nesting import map_tensors, tensors_in

_REAL_CALL = (
    "Pass the inputs of a real call; a list holds several examples, a tuple the positional "
    "arguments of one."
)
_NO_GRADIENTS = (
    "A method that differentiates, as by `torch.autograd.grad`, cannot be followed: pass the part "
    "of the model that is differentiated, or name another method by `Call`."
)


@dataclass(frozen=True, init=False, eq=False)
class Call:
    """An example of a call of a method of the model, such as ``encode``.

    Args:
        method: name of the method.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Raises:
        ValueError: if ``method`` is empty.
        TypeError: if it is no text.

    Examples:
        >>> import torch
        >>> Call("encode", torch.zeros(2), scale=3)
        Call(method='encode', args=(tensor([0., 0.]),), kwargs={'scale': 3})
    """

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init__(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        check_name("method", method, "It is the name of a method of the model.")
        for name, value in (("method", method), ("args", args), ("kwargs", kwargs)):
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class ExampleInputs:
    """Arguments with which a method of a model can be called.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
        method: name of the method.
        measured: whether multiply-adds and latency are those of this call. One that is not is
            coupled and verified all the same.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    method: str = "forward"
    measured: bool = True

    @classmethod
    def of(cls, example_inputs: Any) -> ExampleInputs:
        """Return one example in this form.

        Args:
            example_inputs: a tensor or an object that holds some, a tuple of positional arguments,
                a mapping of keyword arguments, a `Call`, an `ExampleInputs`, or a list with one of
                these.

        Returns:
            The same arguments.

        Raises:
            ExampleInputsError: if it is a list of several, or holds no tensor.
        """
        if isinstance(example_inputs, list):
            if len(example_inputs) != 1:
                raise ExampleInputsError(
                    "Expected `example_inputs` to be one example, but got a list of "
                    f"{len(example_inputs)}. Pass one of them; positional arguments are a tuple."
                )
            example_inputs = example_inputs[0]
        if isinstance(example_inputs, ExampleInputs):
            return example_inputs
        if isinstance(example_inputs, Call):
            return cls(example_inputs.args, example_inputs.kwargs, example_inputs.method)
        if isinstance(example_inputs, Mapping):
            inputs = cls((), dict(example_inputs))
        elif isinstance(example_inputs, tuple):
            inputs = cls(example_inputs)
        else:
            inputs = cls((example_inputs,))
        if not inputs.tensors:
            raise ExampleInputsError(
                "Expected `example_inputs` to be a tensor, a tuple of positional arguments, a dict "
                "of keyword arguments, a `Call`, or a list of such examples, but got "
                f"{type(example_inputs).__name__} without a tensor. Pass what you would pass to "
                "`model(...)`."
            )
        return inputs

    @property
    def tensors(self) -> list[Tensor]:
        """Every tensor among the arguments."""
        return tensors_in((self.args, self.kwargs))

    @property
    def batch_size(self) -> int:
        """Size of the first dimension of the first tensor; 1 for a scalar, or without a tensor."""
        first = next(iter(self.tensors), None)
        return first.shape[0] if first is not None and first.dim() else 1

    def map(self, transform: Callable[[Tensor], Tensor]) -> ExampleInputs:
        """Return these arguments with every tensor replaced by ``transform(tensor)``."""
        args, kwargs = map_tensors((self.args, self.kwargs), transform)
        return replace(self, args=args, kwargs=kwargs)

    def on(self, model: nn.Module) -> ExampleInputs:
        """Return these arguments on the device and in the floating type of ``model``."""
        like = next((p for p in model.parameters() if p.is_floating_point()), None)
        if like is None:
            return self
        return self.map(lambda t: t.to(like) if t.is_floating_point() else t.to(like.device))

    def narrowed(self, batch_size: int) -> ExampleInputs:
        """Return these arguments cut to at most ``batch_size`` along the first dimension.

        Only tensors that share the size of the first dimension with the first tensor are cut, and
        nothing where whole numbers might point beyond the cut.
        """
        full = self.batch_size

        def cut(t: Tensor) -> Tensor:
            return t[:batch_size] if t.dim() and t.shape[0] == full else t

        narrow = self.map(cut) if full > batch_size else self
        return self if narrow.points_outside(self) else narrow

    def resized(self, batch_size: int) -> ExampleInputs:
        """Return these arguments at another batch: rows are left out, or come again from the first.

        Only tensors that share the size of the first dimension with the first tensor change.

        Args:
            batch_size: size of the first dimension, at least 1.

        Raises:
            ExampleInputsError: if the first tensor has no dimension, or whole numbers might point
                beyond what is left.
        """
        full = self.batch_size
        if full == batch_size:
            return self
        first = next(iter(self.tensors), None)
        rows = torch.arange(batch_size) % full

        def take(t: Tensor) -> Tensor:
            return t[rows.to(t.device)] if t.dim() and t.shape[0] == full else t

        resized = self.map(take)
        if first is None or not first.dim() or resized.points_outside(self):
            raise ExampleInputsError(
                f"Expected `example_inputs` to be of any batch size, but got some of {full} alone. "
                f"Pass inputs of {batch_size} instead of `batch_size={batch_size}`."
            )
        return resized

    def points_outside(self, full: ExampleInputs) -> bool:
        """Tell whether an accelerator might read beyond the end of these inputs, and stop for good.

        A CPU raises an error instead, and so never does.

        Args:
            full: the same inputs in sizes in which whole numbers point inside, as the edges of a
                graph do at its nodes.

        Returns:
            Whether whole numbers that are still all there fit into what was cut before, not after.
        """
        pairs = list(zip(self.tensors, full.tensors, strict=False))
        if all(tensor.device.type in {"cpu", "meta"} for tensor in self.tensors):
            return False
        cuts = [cut for now, old in pairs for cut in zip(now.shape, old.shape, strict=False)]
        kept = [now for now, old in pairs if now.shape == old.shape and is_index(now)]
        return any(now <= int(index.max()) < old for index in kept for now, old in cuts)

    def __call__(self, model: nn.Module) -> Any:
        """Return what the method of ``model`` returns; ``forward`` runs with its hooks.

        Raises:
            ExampleInputsError: if the model does not run on these inputs.
        """
        try:
            run = model if self.method == "forward" else getattr(model, self.method)
            return run(*self.args, **self.kwargs)
        except Exception as error:  # whatever a model's own code raises
            shapes = ", ".join(str(tuple(t.shape)) for t in self.tensors)
            cure = _NO_GRADIENTS if "does not require grad" in str(error) else _REAL_CALL
            raise ExampleInputsError(
                f"Expected `example_inputs` to be what `{type(model).__name__}.{self.method}` "
                f"takes, but calling it with tensors of shape {shapes} raised "
                f"{type(error).__name__}: {error}. {cure}"
            ) from error


def examples_of(example_inputs: Any) -> list[ExampleInputs]:
    """Return every example that a user has given, in this form.

    Args:
        example_inputs: one example as `ExampleInputs.of` takes it, or a list of them.

    Returns:
        The examples, at least one.

    Raises:
        ExampleInputsError: if there is none, or one holds no tensor.
    """
    if not isinstance(example_inputs, list):
        return [ExampleInputs.of(example_inputs)]
    if not example_inputs:
        raise ExampleInputsError(
            "Expected `example_inputs` to hold at least one example, but got an empty list. Pass "
            "what you would pass to `model(...)`."
        )
    return [ExampleInputs.of(example) for example in example_inputs]


def output_tensors(output: Any) -> list[Tensor]:
    """Return every tensor of real or complex numbers in what a model returned.

    Args:
        output: a tensor or any nesting of tuples, lists, dicts and objects with attributes.

    Returns:
        The tensors of floating or complex type, in a stable order.
    """
    return [t for t in tensors_in(output) if t.is_floating_point() or t.is_complex()]


def is_index(tensor: Tensor) -> bool:
    """Tell whether a tensor holds whole numbers, which may be positions in another one."""
    is_number = tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool
    return not is_number and tensor.numel() > 0
