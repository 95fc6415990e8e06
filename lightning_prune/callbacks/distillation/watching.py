"""Watching: with what a module is called, and what modules in it return. No Trainer, no losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.names import plain_name


@dataclass(frozen=True)
class Watched:
    """What was seen.

    Args:
        inputs: the arguments of every call of the module, copied before it ran.
        outputs: what the watched modules returned, in order, by name.
    """

    inputs: list[ExampleInputs] = field(default_factory=list)
    outputs: dict[str, list[Any]] = field(default_factory=dict)


@contextmanager
def watching(module: nn.Module, names: Sequence[str]) -> Iterator[Watched]:
    """Watch a module until the context ends.

    Calls with another grad mode than that around the context are not looked at: what runs without
    gradients in a training step is not trained.

    Args:
        module: the module.
        names: names of modules in it, as `submodule` takes them.

    Yields:
        What is seen, as it comes.
    """
    watched = Watched(outputs={name: [] for name in names})
    grad = torch.is_grad_enabled()

    def note_inputs(called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled() == grad:
            inputs = ExampleInputs(args, kwargs)
            watched.inputs.append(inputs.map(lambda tensor: tensor.detach().clone()))

    def note_output(name: str, called: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.is_grad_enabled() == grad:
            watched.outputs[name].append(output)

    handles = [module.register_forward_pre_hook(note_inputs, with_kwargs=True)]
    for name in names:
        found = submodule("names", module, name)
        handles.append(found.register_forward_hook(partial(note_output, name)))
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()


def submodule(argument: str, module: nn.Module, name: str) -> nn.Module:
    """Return a module in another one by its name, with or without marks of ``torch.compile``.

    Args:
        argument: the argument that holds the name, for the message.
        module: the outer module.
        name: the name of the inner one; empty for the outer one itself.

    Raises:
        ValueError: if there is none of that name.
    """
    inner: nn.Module
    for found, inner in module.named_modules():
        if name in (found, plain_name(found)):
            return inner
    raise ValueError(
        f"Expected `{argument}` to name modules of {type(module).__name__}, but got {name!r}. See "
        "`named_modules()`."
    )
