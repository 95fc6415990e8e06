"""Other packages' ways to prune, as their documents have them: Torch-Pruning and Lightning's.

Torch-Pruning 1.6.1 is no dependency: `pip install --no-deps torch-pruning`. Lightning's
`ModelPruning` masks and removes nothing, so its MACs are those of the dense network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelPruning
from torch import nn
from torch.optim import Optimizer

from dueling.case import Case, search
from dueling.nets import Attention, ResNet20, ViT
from dueling.training import train


def torch_pruning(
    case: Case, sparsity: float, importance: str, *, together: bool = True
) -> nn.Module:
    """Return a copy that Torch-Pruning has made smaller.

    Args:
        case: what to cut.
        sparsity: its pruning ratio, of channels and of heads.
        importance: ``"L1"``, ``"L2"`` or ``"Taylor"``.
        together: rank all layers together, else every layer by itself.

    Raises:
        ImportError: if the package is not installed.
    """
    network = case.network
    if importance == "Taylor":
        for batch in case.batches:
            (case.loss(network, batch) / len(case.batches)).backward()
    _pruner(case, network, sparsity, importance, together=together).step()
    network.zero_grad()
    return network


def sparse_learning(case: Case, epochs: int) -> nn.Module:
    """Return a network that shrank groups for half of the epochs, was cut, and trained on.

    Args:
        case: what to cut.
        epochs: all of them; the first half is rounded up.

    Raises:
        ImportError: if Torch-Pruning is not installed.
    """
    learned = case.network
    problem = case.problem
    before = (epochs + 1) // 2
    pruner = _pruner(case, learned, 0.5, "L2", together=True, reg=5e-4)
    rate = problem.recovery_rate
    train(problem, learned, case.data, before, rate, [_Regularizer(pruner)])

    def cut(case: Case, sparsity: float) -> nn.Module:
        return torch_pruning(case, sparsity, "L2")

    case = replace(case, dense=learned)
    network = cut(case, search(case, cut))
    if epochs > before:
        train(problem, network, case.data, epochs - before, rate)
    return network


class _Regularizer(L.Callback):
    """Adds what the sparse learning of Torch-Pruning adds to gradients."""

    def __init__(self, pruner: Any) -> None:
        self.pruner = pruner

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Add the gradient of the group norms."""
        self.pruner.regularize(pl_module.network)


def _pruner(
    case: Case,
    network: nn.Module,
    sparsity: float,
    importance: str,
    *,
    together: bool,
    **options: Any,
) -> Any:
    """Return its pruner, told what it has to be told of each network."""
    import torch_pruning as tp

    ignored = [network.head]
    if isinstance(network, ResNet20):  # it fails on shortcuts that pad by zeros
        ignored += [network.stem, *(block.conv2 for block in network.blocks)]
    if isinstance(network, ViT):
        attentions = [layer for layer in network.modules() if isinstance(layer, Attention)]
        options |= {
            "num_heads": {
                projection: attention.query.out_features // attention.head_width
                for attention in attentions
                for projection in (attention.query, attention.key, attention.value)
            },
            "prune_num_heads": True,
            "prune_head_dims": False,
            "head_pruning_ratio": sparsity,
            "unwrapped_parameters": [(network.positions, 2)],
        }
    scores = {
        "L1": tp.importance.MagnitudeImportance(p=1),
        "L2": tp.importance.GroupMagnitudeImportance(),
        "Taylor": tp.importance.GroupTaylorImportance(),
    }
    pruner = tp.pruner.GroupNormPruner if options.get("reg") else tp.pruner.BasePruner
    return pruner(
        network,
        case.example,
        scores[importance],
        global_pruning=together,
        pruning_ratio=sparsity,
        ignored_layers=ignored,
        **options,
    )


def model_pruning(case: Case, sparsity: float, *, rows: bool = False) -> nn.Module:
    """Return a copy that Lightning's callback has masked.

    Args:
        case: what to mask.
        sparsity: fraction of the weights of convolutions and linear layers but the last.
        rows: of the rows of every layer, by their L2 norm; else of all weights together, by L1.

    Raises:
        ValueError: if there is no such layer.
    """
    network = case.network
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    weights = [(layer, "weight") for layer in layers if layer is not network.head]
    if not weights:
        raise ValueError("Expected a convolution or linear layer before the last, but got none.")
    if rows:
        pruning = ModelPruning(
            "ln_structured",
            weights,
            use_global_unstructured=False,
            amount=sparsity,
            pruning_dim=0,
            pruning_norm=2,
        )
    else:
        pruning = ModelPruning("l1_unstructured", weights, amount=sparsity)
    with torch.no_grad():  # masked weights that are no leaves cannot be copied
        pruning.apply_pruning(sparsity)
    return network
