"""Example inputs: one form for the many that a user may give.

A tensor, a tuple or list (positional arguments) or a dict (keyword arguments) becomes
`ExampleInputs`. Nothing here knows a Trainer or a data loader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lightning_prune.errors import ExampleInputsError


@dataclass(frozen=True)
class ExampleInputs:
    """Arguments with which a model's ``forward`` can be called.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, example_inputs: Any) -> ExampleInputs:
        """Return ``example_inputs`` in this form.

        Args:
            example_inputs: a tensor, a tuple or list of positional arguments, a dict of keyword
                arguments, or an `ExampleInputs`.

        Returns:
            The same arguments.

        Raises:
            ExampleInputsError: if they hold no tensor.
        """
        if isinstance(example_inputs, ExampleInputs):
            return example_inputs
        if isinstance(example_inputs, dict):
            inputs = cls((), dict(example_inputs))
        elif isinstance(example_inputs, (tuple, list)):
            inputs = cls(tuple(example_inputs))
        else:
            inputs = cls((example_inputs,))
        if not inputs.tensors:
            raise ExampleInputsError(
                "Expected `example_inputs` to be a tensor, a tuple of positional arguments or a "
                f"dict of keyword arguments, but got {type(example_inputs).__name__} without a "
                "tensor. Pass what you would pass to `model(...)`."
            )
        return inputs

    @property
    def tensors(self) -> list[Tensor]:
        """Every tensor among the arguments."""
        return [t for t in tree_leaves((self.args, self.kwargs)) if isinstance(t, Tensor)]

    @property
    def batch_size(self) -> int:
        """Size of the first dimension of the first tensor; 1 for a scalar."""
        first = self.tensors[0]
        return first.shape[0] if first.dim() else 1

    def map(self, transform: Callable[[Tensor], Tensor]) -> ExampleInputs:
        """Return these arguments with every tensor replaced by ``transform(tensor)``."""

        def apply(leaf: Any) -> Any:
            return transform(leaf) if isinstance(leaf, Tensor) else leaf

        return ExampleInputs(tree_map(apply, self.args), tree_map(apply, self.kwargs))

    def on(self, model: nn.Module) -> ExampleInputs:
        """Return these arguments on the device and in the floating type of ``model``."""
        like = next((p for p in model.parameters() if p.is_floating_point()), None)
        if like is None:
            return self
        return self.map(lambda t: t.to(like) if t.is_floating_point() else t.to(like.device))

    def narrowed(self, batch_size: int) -> ExampleInputs:
        """Return these arguments cut to at most ``batch_size`` along the first dimension.

        Only tensors that share the size of the first dimension with the first tensor are cut.
        """
        full = self.batch_size

        def cut(t: Tensor) -> Tensor:
            return t[:batch_size] if t.dim() and t.shape[0] == full else t

        return self.map(cut) if full > batch_size else self

    def __call__(self, model: nn.Module) -> Any:
        """Return ``model(*args, **kwargs)``.

        Raises:
            ExampleInputsError: if the model does not run on these inputs.
        """
        try:
            return model(*self.args, **self.kwargs)
        except Exception as error:  # whatever a model's own code raises
            shapes = ", ".join(str(tuple(t.shape)) for t in self.tensors)
            raise ExampleInputsError(
                f"Expected `example_inputs` to be what `{type(model).__name__}.forward` takes, but "
                f"calling it with tensors of shape {shapes} raised {type(error).__name__}: "
                f"{error}. Pass the inputs of one real forward pass."
            ) from error


def tensors_in(output: Any) -> list[Tensor]:
    """Return every tensor in what a model returned, in a stable order.

    Args:
        output: a tensor or any nesting of tuples, lists, dicts and objects with attributes.

    Returns:
        The tensors of every type.
    """
    return list(_tensors(output, set()))


def output_tensors(output: Any) -> list[Tensor]:
    """Return every tensor of real or complex numbers in what a model returned.

    Args:
        output: a tensor or any nesting of tuples, lists, dicts and objects with attributes.

    Returns:
        The tensors of floating or complex type, in a stable order.
    """
    return [t for t in tensors_in(output) if t.is_floating_point() or t.is_complex()]


def _tensors(nested: Any, seen: set[int]) -> Iterator[Tensor]:
    for leaf in tree_leaves(nested):
        if isinstance(leaf, Tensor):
            yield leaf
        elif id(leaf) not in seen and not isinstance(leaf, (nn.Module, type)):
            seen.add(id(leaf))
            fields = dict(leaf) if isinstance(leaf, Mapping) else getattr(leaf, "__dict__", None)
            yield from _tensors(fields or (), seen)
