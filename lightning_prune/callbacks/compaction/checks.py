"""What `Compaction` checks and says: metrics, sizes of checkpoints, ranks that differ."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_prune.callbacks.trainer.full_size import NeedsFullSize
from lightning_prune.callbacks.trainer.ranks import ranks_agree
from lightning_prune.callbacks.trainer.strategies import shards_weights
from lightning_prune.compaction.optimizer_states import cut_optimizer_state
from lightning_prune.compaction.plan import Plan
from lightning_prune.errors import PruningError, VerificationError
from lightning_prune.modules.twin import twin

log = logging.getLogger(__name__)

_BY_WHOLE_WEIGHTS = {"Adafactor", "LBFGS", "Muon"}
"""Optimizers of torch whose steps depend on the size of a weight, its mean square, or on all."""


def check_copied(module: nn.Module) -> None:
    """Refuse a module that cannot be copied: compaction works on copies.

    Args:
        module: the module; what lazy modules have not made yet is not looked at.

    Raises:
        TypeError: if it holds something that cannot be copied.
    """
    if not any(map(is_lazy, (*module.parameters(), *module.buffers()))):
        twin(module)


def check_gathered_options(path: str | None, monitor: str | None) -> None:
    """Refuse options that make no sense for a sharded module.

    Args:
        path: where to write the compact model.
        monitor: the metric of the best weights.

    Raises:
        ValueError: if there is no path, or a metric.
    """
    if path is None:
        raise ValueError(
            "Expected `path` to be given where the model is sharded, but got None. The compact "
            "model is made on rank zero and written there; the sharded one keeps its size."
        )
    if monitor is not None:
        raise ValueError(
            f"Expected `monitor` to be None where the model is sharded, but got {monitor!r}. The "
            "last weights are compacted; to compact others, load their checkpoint and fit no step."
        )


def check_during(trainer: L.Trainer) -> None:
    """Refuse what needs the full size of a model that becomes compact while it trains.

    Args:
        trainer: the trainer.

    Raises:
        ValueError: if weights are sharded, or a callback would compare or restore wider ones.
    """
    if shards_weights(trainer):
        raise ValueError(
            "Expected the module to be whole on every device for Compaction(during=True), but got "
            f"{type(trainer.strategy).__name__}. Leave `during` out: it is compacted in the end."
        )
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        reason = callback.needs_full_size() if isinstance(callback, NeedsFullSize) else None
        if reason is not None:
            raise ValueError(
                "Expected no callback beside Compaction(during=True) that needs the full size, but "
                f"got {type(callback).__name__}: {reason}"
            )


def say_steps_change(trainer: L.Trainer) -> None:
    """Warn of optimizers that step otherwise once weights are smaller.

    Args:
        trainer: the trainer.
    """
    kinds = {type(optimizer).__name__ for optimizer in trainer.optimizers}
    for kind in sorted(kinds & _BY_WHOLE_WEIGHTS):
        log.warning(
            "The steps of %s depend on whole weights, which become smaller while the module "
            "trains: it ends with other weights than a training that only masks.",
            kind,
        )


def holds_same(module: nn.Module, compacted: nn.Module) -> bool:
    """Return whether two modules hold the same tensors, of the same sizes and values.

    Args:
        module: a module.
        compacted: another one.

    Returns:
        False if any differs.
    """
    return not _differing(module, compacted)


def check_same(module: nn.Module, compacted: nn.Module) -> None:
    """Compare a module that became compact step by step with one compacted at once.

    Args:
        module: the first.
        compacted: the second.

    Raises:
        VerificationError: if a tensor differs in its size or its values.
    """
    if differing := _differing(module, compacted):
        raise VerificationError(
            "Expected a model that became compact in training to be the one that compaction makes "
            f"of its full size, but got another {differing[0]}. It was verified at every step; "
            "save it with `save_compact`, and train without `during` for the final proof."
        )


def _differing(module: nn.Module, other: nn.Module) -> list[str]:
    tensors, others = module.state_dict(), other.state_dict()
    return [
        name
        for name, tensor in tensors.items()
        if isinstance(tensor, Tensor) and not _is_equal(tensor, others[name])
    ]


def _is_equal(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors hold the same, be it no number."""
    if torch.equal(one, other):
        return True
    same = one.shape == other.shape and one.is_floating_point() and other.is_floating_point()
    return same and bool(((one == other) | (one.isnan() & other.isnan())).all())


def refuse_full_size(
    trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: Mapping[str, Any]
) -> None:
    """Refuse to go on training from a checkpoint in another size than the model's.

    Its weights could be shrunk, but not the state of the optimizers and of other callbacks.

    Args:
        trainer: the trainer.
        pl_module: the module, perhaps compact.
        checkpoint: what is being loaded.

    Raises:
        ValueError: if a tensor has another shape than in the module.
    """
    own = pl_module.state_dict()
    for name, tensor in checkpoint.get("state_dict", {}).items():
        mine = own.get(name)
        if trainer.state.fn == "fit" and isinstance(mine, Tensor) and mine.shape != tensor.shape:
            raise ValueError(
                "Expected `ckpt_path` to be a checkpoint in the size of the model, but got "
                f"{name} of {tuple(tensor.shape)} for {tuple(mine.shape)}. A training goes on with "
                "a new model of full size; for the weights alone, test first, then fit without."
            )


def forget_checkpoint(trainer: L.Trainer) -> None:
    """Drop a checkpoint that could not be loaded; Lightning would try it again in the next call.

    Args:
        trainer: the trainer.
    """
    connector = getattr(trainer, "_checkpoint_connector", None)
    if getattr(connector, "_loaded_checkpoint", None):
        connector._loaded_checkpoint = {}  # type: ignore[union-attr]


def cut_optimizer_states(trainer: L.Trainer, pl_module: L.LightningModule, plan: Plan) -> None:
    """Cut what the optimizers keep to the compact sizes, and warn of what could not be cut.

    Args:
        trainer: the trainer.
        pl_module: the module after the compaction.
        plan: what the compaction has done to it.
    """
    dropped = [
        name
        for optimizer in trainer.optimizers
        for name in cut_optimizer_state(optimizer, pl_module, plan)
    ]
    if dropped:
        rank_zero_warn(
            "The optimizer's state of some parameters could not be cut to the compact sizes, and "
            f"was dropped: {', '.join(dropped)}. If the training goes on, it does as if these were "
            "new to the optimizer."
        )


def check_sizes_agree(trainer: L.Trainer, pl_module: L.LightningModule) -> None:
    """Refuse to go on if the compact models of the ranks differ in their sizes.

    Args:
        trainer: the trainer.
        pl_module: this rank's compact model.

    Raises:
        PruningError: if they do.
    """
    state = pl_module.state_dict()
    shapes = [(name, *t.shape) for name, t in state.items() if isinstance(t, Tensor)]
    if not ranks_agree(trainer, pl_module, zlib.crc32(repr(shapes).encode())):
        raise PruningError(
            "Expected the compact models of all ranks to have the same sizes, but got different "
            "ones. Ranks must hold the same zeros at the end of the fit."
        )


def say_why_nothing(module: nn.Module) -> None:
    """Warn of the likely cause why nothing was removed, which the report says.

    Args:
        module: the module of which nothing was removed.
    """
    if not all(bool(p.isfinite().all()) for p in module.parameters()):
        log.warning("Nothing was removed: the weights hold NaN or infinity; the fit diverged.")
        return
    log.warning(
        "Only whole units are removed: Pruning(granularity=Channel()) zeroes such, from its "
        "schedule's start."
    )


def warn_left_behind(before: nn.Module, module: nn.Module) -> None:
    """Warn of frozen layers that are like trained ones, but have not shrunk with them.

    Args:
        before: the module as it was.
        module: the compact module.
    """
    old = {name: parameter.shape for name, parameter in before.named_parameters()}
    shrunk, left = set(), []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and parameter.shape != old[name]:
            shrunk |= {(name, old[name]), (name.partition(".")[2], old[name])}
    for name, parameter in module.named_parameters():
        alike = (name.partition(".")[2], parameter.shape) in shrunk
        if alike and not parameter.requires_grad and parameter.shape == old[name]:
            left.append(name.rpartition(".")[0])
    if left:
        log.warning(
            "%s kept the full size, for no recorded step ties these layers to trained ones of the "
            "same names, which shrank. If they follow those, as a momentum teacher does, the next "
            "fit cannot: let the training step update them, or copy them from the compact layers.",
            ", ".join(dict.fromkeys(left)),
        )
