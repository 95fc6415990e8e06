"""Names of parameters and modules, with and without the marks of ``torch.compile``.

A compiled module holds the original as ``_orig_mod``. Users, patterns and checkpoints of this
package speak of the model as it was written.
"""

from __future__ import annotations

from torch import Tensor, nn


def plain_name(name: str) -> str:
    """Return ``name`` without the marks of compiled modules.

    Examples:
        >>> plain_name("net._orig_mod.conv.weight")
        'net.conv.weight'
    """
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def parameters_by_name(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return every parameter of ``model`` once, by its plain name, in order."""
    return {plain_name(name): p for name, p in model.named_parameters()}


def parameters_by_any_name(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return every parameter of ``model`` by each name it has: tied ones several, plain or not."""
    named = list(model.named_parameters(remove_duplicate=False))
    return dict(named) | {plain_name(name): p for name, p in named}


def tensors_by_any_name(model: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer of ``model`` by each name it has."""
    named = list(model.named_buffers(remove_duplicate=False))
    buffers = dict(named) | {plain_name(name): buffer for name, buffer in named}
    return {**parameters_by_any_name(model), **buffers}
