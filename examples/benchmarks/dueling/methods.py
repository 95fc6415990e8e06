"""What is compared: each method cuts a copy of a dense network; some repair it, or train it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

import lightning_prune as lp
from dueling import rivals
from dueling.case import Case

Cut = Callable[[Case, float], nn.Module]


@dataclass(frozen=True)
class Method:
    """How to make a network smaller.

    Args:
        cut: returns a smaller copy of the dense network, at a sparsity between 0 and 1 whose
            meaning is the method's own.
        repair: the same, with weights that make good for what was removed.
        train: returns the network after that many epochs, for a method that trains before it
            cuts; others are cut, repaired and then trained.
        searched: whether the sparsity is searched for at which the MACs are as asked.
    """

    cut: Cut
    repair: Cut | None = None
    train: Callable[[Case, int], nn.Module] | None = None
    searched: bool = True


def ours(case: Case, sparsity: float, criterion: lp.Criterion, **options: Any) -> nn.Module:
    """Return a compact copy without the units that score lowest."""
    network = case.network
    lp.prune(
        network,
        case.example,
        sparsity=sparsity,
        of="macs",
        criterion=criterion,
        batches=case.batches,
        loss=case.loss,
        **options,
    )
    lp.compact(network, case.example, latency=False)
    return network


def random(case: Case, sparsity: float) -> nn.Module:
    """Return a compact copy without units that were drawn, the same share of every group."""
    return ours(case, sparsity, lp.Random(case.seed), allocation=lp.Uniform())


_CUTS: dict[str, Cut] = {
    "Magnitude": partial(ours, criterion=lp.Magnitude()),
    "Magnitude, uniform": partial(ours, criterion=lp.Magnitude(), allocation=lp.Uniform()),
    "Gradient": partial(ours, criterion=lp.Gradient()),
    "Taylor": partial(ours, criterion=lp.Taylor()),
    "Taylor squared": partial(ours, criterion=lp.Taylor(squared=True)),
    "Fisher": partial(ours, criterion=lp.Fisher()),
}

DENSE = "dense, trained longer"


def _dense(case: Case, sparsity: float) -> nn.Module:
    return case.network


METHODS: dict[str, Method] = {
    DENSE: Method(_dense, searched=False),
    "Random": Method(random),
    **{name: Method(cut) for name, cut in _CUTS.items()},
    "Torch-Pruning L1": Method(partial(rivals.torch_pruning, importance="L1")),
    "Torch-Pruning L1, uniform": Method(
        partial(rivals.torch_pruning, importance="L1", together=False)
    ),
    "Torch-Pruning Taylor": Method(partial(rivals.torch_pruning, importance="Taylor")),
    "Torch-Pruning sparse learning": Method(
        partial(rivals.torch_pruning, importance="L2"), train=rivals.sparse_learning
    ),
    "ModelPruning, weights": Method(rivals.model_pruning, searched=False),
    "ModelPruning, rows": Method(partial(rivals.model_pruning, rows=True), searched=False),
}
