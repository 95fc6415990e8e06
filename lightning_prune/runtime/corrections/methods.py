"""Corrections of whole methods: what runs in place of a module whose results nobody reads."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections.base import Correction, is_size, misfit, require
from lightning_prune.runtime.corrections.values import is_tensor

Form = Any
"""What JSON can hold: None, or a tuple of a word and what belongs to it."""

ZERO: Form = ("zero",)
"""The form of a module that adds nothing."""


@dataclass(frozen=True)
class GiveBack(Correction):
    """Stand in for ``forward`` of a module: give back what it was given.

    Args:
        form: of what the module used to return. The tensors in it are the first one that it is
            given, or zeros of other sizes; a zero is a single number of its type.
        copies: the tensors are copies, into which a caller may write.
    """

    kind: ClassVar[str] = "give_back"

    form: Form
    copies: bool = False

    def __post_init__(self) -> None:
        require(_is_form(self.form), "form", "the form of an output", self.form)
        require(isinstance(self.copies, bool), "copies", "True or False", self.copies)

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Refuse: it stands in for no expression."""
        raise misfit(self, node)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return something of the form."""
        # Not `next` with a default, which torch 2.6 does not compile.
        tensors = [t for t in (*args, *kwargs.values()) if is_tensor(t)]
        if self.copies:
            tensors = [tensor.clone() for tensor in tensors[:1]]
        return _filled(self.form, args, tensors[0] if tensors else None)

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep the later form."""
        return later if isinstance(later, GiveBack) else None


def form_of(output: Any, args: Sequence[Any]) -> Form:
    """Return the form of what a module returned.

    Args:
        output: tensors, None, and what it was given, in tuples, lists and dicts.
        args: the positional arguments that it was given.

    Raises:
        RewriteError: if it is anything else.
    """
    if output is None:
        return None
    if isinstance(output, Tensor):
        return _tensor_form(output, next((arg for arg in args if isinstance(arg, Tensor)), output))
    if _is_plain(output) and output in [arg for arg in args if _is_plain(arg)]:
        index = next(i for i, arg in enumerate(args) if _is_plain(arg) and arg == output)
        return ("argument", index)
    if type(output) in {tuple, list}:
        return (type(output).__name__, *(form_of(part, args) for part in output))
    if type(output) is dict and all(map(_is_plain, output)):
        return ("dict", *((key, form_of(part, args)) for key, part in output.items()))
    raise RewriteError(f"a module of it returns {type(output).__name__}, which may be needed")


def _tensor_form(output: Tensor, given: Tensor) -> Form:
    """Return the form of a tensor: sizes that are not the given ones, -1 for those that are."""
    if output.shape == given.shape:
        return ("tensor",)
    sizes = [-1 if given.shape[i : i + 1] == (n,) else n for i, n in enumerate(output.shape)]
    return ("zeros", *sizes)


def _is_plain(value: Any) -> bool:
    """Tell whether a value is a number or made of numbers, such as a size."""
    if type(value) in {tuple, list, torch.Size}:
        return bool(value) and all(map(_is_plain, value))
    return type(value) in {bool, int, float, str}


def _is_form(form: Any) -> bool:
    if form is None or type(form) is not tuple:
        return form is None
    match form:
        case ("tensor",) | ("zero",):
            return True
        case ("argument", index):
            return is_size(index)
        case ("zeros", *sizes):
            return all(size == -1 or is_size(size) for size in sizes)
        case ("tuple" | "list", *parts):
            return all(map(_is_form, parts))
        case ("dict", *parts):
            return all(
                type(part) is tuple and len(part) == 2 and _is_plain(part[0]) and _is_form(part[1])
                for part in parts
            )
    return False


def _filled(form: Form, args: Sequence[Any], tensor: Tensor | None) -> Any:
    if form is None:
        return None
    word, *parts = form
    if word == "zero" and tensor is not None:
        return tensor.new_zeros(())
    if word == "tensor":
        return tensor
    if word == "zeros" and tensor is not None:
        return tensor.new_zeros([tensor.shape[i] if n == -1 else n for i, n in enumerate(parts)])
    if word == "argument":
        return args[parts[0]]
    if word == "dict":
        return {key: _filled(part, args, tensor) for key, part in parts}
    values = [_filled(part, args, tensor) for part in parts]
    return tuple(values) if word == "tuple" else values
