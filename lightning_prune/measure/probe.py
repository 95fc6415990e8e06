"""A probe: a copy of a model that may be run to measure it, without a trace in the original."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_prune.twin import twin


def probe(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` in eval mode that shares its parameters but not its buffers.

    Buffers are copied because eval mode alone does not protect them: a key-value cache is written
    in every forward pass, and a module that overrides ``train`` may keep its BatchNorm counting.

    Args:
        model: any module.

    Returns:
        A module of the same class, in eval mode, on the same device.
    """
    copied = twin(model).eval()
    own: dict[int, Tensor] = {}
    for module in copied.modules():
        _forget_compiled_calls(module)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = own.setdefault(id(buffer), buffer.detach().clone())
    return copied


def _forget_compiled_calls(module: nn.Module) -> None:
    """Make ``module`` run its own code.

    ``torch.compile`` of a LightningModule stores closures over the *original* module in its
    ``__dict__``. They survive a copy, which would then run, and train, the original.
    """
    vars(module).pop("_compiled_call_impl", None)
    if hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable"):
        del vars(module)["forward"]
