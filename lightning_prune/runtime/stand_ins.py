"""Stand-ins: what runs in place of a branch that was taken out. They run inside compact models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_prune.errors import RewriteError

Form = Any
"""What JSON can hold: None, or a list of a word and what belongs to it."""


def keep(copied: bool, term: Tensor) -> Tensor:
    """Stand in for a sum of which one term is left.

    Args:
        copied: later operations write into the sum, so that it needs memory of its own.
        term: what is left.

    Returns:
        It, or a copy.
    """
    return term.clone() if copied else term


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
        return ("tensor",)
    if _is_plain(output) and output in [arg for arg in args if _is_plain(arg)]:
        index = next(i for i, arg in enumerate(args) if _is_plain(arg) and arg == output)
        return ("argument", index)
    if type(output) in {tuple, list}:
        return (type(output).__name__, *(form_of(part, args) for part in output))
    if type(output) is dict and all(map(_is_plain, output)):
        return ("dict", *((key, form_of(part, args)) for key, part in output.items()))
    raise RewriteError(f"a module of it returns {type(output).__name__}, which may be needed")


def _is_plain(value: Any) -> bool:
    """Tell whether a value is a number or made of numbers, such as a size."""
    if type(value) in {tuple, list, torch.Size}:
        return bool(value) and all(map(_is_plain, value))
    return type(value) in {bool, int, float, str}


def give_back(form: Form, *args: Any, **kwargs: Any) -> Any:
    """Stand in for a module whose results nobody reads.

    Args:
        form: of what it used to return.
        args: what it is called with.
        kwargs: likewise.

    Returns:
        Something of this form; the tensors in it are the first one that it was given, a zero is a
        single number of its type.
    """
    given = next((t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)), None)
    return _filled(form, args, given)


def _filled(form: Form, args: Sequence[Any], tensor: Tensor | None) -> Any:
    if form is None:
        return None
    word, *parts = form
    if word == "zero" and tensor is not None:
        return tensor.new_zeros(())
    if word == "tensor":
        return tensor
    if word == "argument":
        return args[parts[0]]
    if word == "dict":
        return {key: _filled(part, args, tensor) for key, part in parts}
    values = [_filled(part, args, tensor) for part in parts]
    return tuple(values) if word == "tuple" else values
