"""Masks that `torch.nn.utils.prune` keeps beside weights; compaction reads the weights alone."""

from __future__ import annotations

import logging

from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod

from lightning_prune.modules.news import is_news

log = logging.getLogger(__name__)


def warn_of_masks(model: nn.Module) -> None:
    """Warn once that zeros which only a mask makes are not removed, and how they would be.

    Args:
        model: any module.
    """
    names = [
        f"{name}.{hook._tensor_name}".lstrip(".")
        for name, module in model.named_modules()
        for hook in module._forward_pre_hooks.values()
        if isinstance(hook, BasePruningMethod) and _hides(module, hook._tensor_name)
    ]
    message = (
        "What masks of torch.nn.utils.prune zero is not removed, only what is zero in the weights "
        "themselves. Before the end of the training, call torch.nn.utils.prune.remove(module, "
        f"name) for: {', '.join(names)}"
    )
    if names and is_news(model, message):
        log.warning(message)


def _hides(module: nn.Module, name: str) -> bool:
    """Tell whether a mask zeroes elements that are not zero."""
    original: Tensor = getattr(module, f"{name}_orig")
    mask: Tensor = getattr(module, f"{name}_mask")
    return bool(((mask == 0) & (original != 0)).any())
