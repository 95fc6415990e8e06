"""What is compared: each method cuts a copy of a dense network; some train it before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from typing import Any

import lightning as L
from torch import Tensor, nn
from torch.optim import Optimizer

import lightning_prune as lp
from dueling import rivals
from dueling.case import Case, search
from dueling.training import batch_norms, train

Cut = Callable[[Case, float], nn.Module]


@dataclass(frozen=True)
class Method:
    """How to make a network smaller.

    Args:
        cut: returns a smaller copy of the dense network, at a sparsity between 0 and 1 whose
            meaning is the method's own.
        compensated: the same, with weights that make good for what was removed.
        train: returns the network after that many epochs, for a method that trains before it
            cuts; others are cut, compensated and then trained.
        teacher: makes a teacher of the dense network, which it has while it trains.
        searched: whether the sparsity is searched for at which the MACs are as asked.
    """

    cut: Cut
    compensated: Cut | None = None
    train: Callable[[Case, int], nn.Module] | None = None
    teacher: Callable[[Case], lp.Distillation] | None = None
    searched: bool = True


def ours(
    case: Case,
    sparsity: float,
    criterion: lp.Criterion,
    *,
    inside: bool = False,
    compensation: lp.Compensation | None = None,
    batches: list[tuple[Tensor, Tensor]] | None = None,
    **options: Any,
) -> nn.Module:
    """Return a compact copy without the units that score lowest.

    Args:
        case: what to cut.
        sparsity: of the MACs that can be removed.
        criterion: gives the scores.
        inside: leave the units alone that run through all blocks.
        compensation: what makes good for removed units; norms are renewed with it.
        batches: what to look at; None for those of the case.
        options: of `lp.prune`.
    """
    network = case.network
    lp.prune(
        network,
        case.example,
        sparsity=sparsity,
        of="macs",
        criterion=criterion,
        exclude=case.problem.stream if inside else (),
        batches=case.batches if batches is None else batches,
        loss=case.loss,
        compensation=compensation,
        renew_norms=compensation is not None,
        **options,
    )
    lp.compact(network, case.example, latency=False)
    return network


def sparse_learning(case: Case, epochs: int) -> nn.Module:
    """Return a network whose groups shrank for half of the epochs, before it was cut.

    Args:
        case: what to cut.
        epochs: all of them.
    """
    schedule = lp.OneShot(at=0.5)
    return _cut_inside(case, epochs, schedule=schedule, regularization=lp.GroupLasso())


def gated(case: Case, epochs: int) -> nn.Module:
    """Return a network whose norms had gates that shrank for half of the epochs, before it was cut.

    A gate is the scale of a batch norm under an L1 penalty (Liu et al., 2017, "Learning Efficient
    Convolutional Networks through Network Slimming", 1708.06519).

    Args:
        case: what to cut.
        epochs: all of them.
    """
    schedule, criterion = lp.OneShot(at=0.5), lp.BatchNormScale()
    return _cut_inside(case, epochs, [_Gates()], schedule=schedule, criterion=criterion)


class _Gates(L.Callback):
    """Adds the gradient of the L1 norm of the scales of batch norms."""

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Add it in the first half of the training."""
        if 2 * trainer.global_step < trainer.estimated_stepping_batches:
            for norm in batch_norms(pl_module):
                if norm.weight.grad is not None:
                    norm.weight.grad.add_(norm.weight.sign(), alpha=1e-2)


def gradual(case: Case, epochs: int) -> nn.Module:
    """Return a network that was cut step by step in the first 40% of its epochs.

    Args:
        case: what to cut.
        epochs: all of them.
    """
    return _cut_inside(case, epochs, schedule=lp.Cubic(start=0.0, end=0.4))


def balanced(case: Case, epochs: int) -> nn.Module:
    """Return a network that was cut by the recipe of that name.

    Args:
        case: what to cut; its speed-up is that of the prunable multiply-adds.
        epochs: all of them.
    """
    return _trained(case, epochs, lp.recipes.balanced(case.speedup, epochs=epochs))


def _cut_inside(
    case: Case,
    epochs: int,
    callbacks: Sequence[L.Callback] = (),
    criterion: lp.Criterion = lp.Magnitude(),  # noqa: B008 (frozen)
    **options: Any,
) -> nn.Module:
    """Return a network that was cut inside its blocks while it trained."""
    pruning = lp.Pruning(
        search(case, _CUTS["Magnitude, inside"]),
        criterion,
        of="macs",
        exclude=[f"network.{name}" for name in case.problem.stream],
        compensation=lp.LeastSquares(),
        **options,
    )
    return _trained(case, epochs, [*callbacks, pruning, lp.Compaction(latency=False)])


def _trained(case: Case, epochs: int, callbacks: Sequence[L.Callback]) -> nn.Module:
    problem, network = case.problem, case.network
    with redirect_stdout(StringIO()):  # of reports
        train(problem, network, case.data, epochs, problem.recovery_rate, callbacks)
    return network


def by_outputs(case: Case) -> lp.Distillation:
    """Return the dense network as a teacher by its outputs."""
    return lp.Distillation(case.network)


def by_features(case: Case) -> lp.Distillation:
    """Return the dense network as a teacher by its logits, and by what its stages write."""
    features = dict.fromkeys(case.problem.stages, 3.0)
    return lp.Distillation(case.network, module="network", weight=0.9, features=features)


def random(case: Case, sparsity: float) -> nn.Module:
    """Return a compact copy without units that were drawn, the same share of every group."""
    return ours(case, sparsity, lp.Random(case.seed), allocation=lp.Uniform())


_CUTS: dict[str, partial[nn.Module]] = {
    "Magnitude": partial(ours, criterion=lp.Magnitude()),
    "Magnitude, uniform": partial(ours, criterion=lp.Magnitude(), allocation=lp.Uniform()),
    "Magnitude, inside": partial(ours, criterion=lp.Magnitude(), inside=True),
    "Gradient": partial(ours, criterion=lp.Gradient()),
    "Taylor": partial(ours, criterion=lp.Taylor()),
    "Taylor, inside": partial(ours, criterion=lp.Taylor(), inside=True),
    "Taylor squared": partial(ours, criterion=lp.Taylor(squared=True)),
    "Taylor squared, uniform": partial(
        ours, criterion=lp.Taylor(squared=True), allocation=lp.Uniform()
    ),
    "Taylor squared, inside": partial(ours, criterion=lp.Taylor(squared=True), inside=True),
    "Fisher": partial(ours, criterion=lp.Fisher()),
}


def best(case: Case, sparsity: float, compensation: lp.Compensation | None = None) -> nn.Module:
    """Return a compact copy, cut by what has the lowest loss on images that mended nothing.

    It is mended by those that others look at; as many more are held out.
    """
    candidates = [
        lp.Candidate(criterion, allocation)
        for criterion in (lp.Magnitude(), lp.Taylor(squared=True))
        for allocation in (lp.Global(), lp.Uniform())
    ]
    auto = lp.Auto(candidates, seconds=None)
    more = replace(case, calibration=2 * case.calibration).batches[len(case.batches) :]
    batches = [batch for pair in zip(case.batches, more, strict=True) for batch in pair]
    return ours(case, sparsity, auto, compensation=compensation, batches=batches)


DENSE = "dense, trained longer"


def _dense(case: Case, sparsity: float) -> nn.Module:
    return case.network


METHODS: dict[str, Method] = {
    DENSE: Method(_dense, searched=False),
    "Random": Method(random),
    **{name: Method(cut) for name, cut in _CUTS.items()},
    **{
        f"{name} + LeastSquares": Method(cut, partial(cut, compensation=lp.LeastSquares()))
        for name, cut in _CUTS.items()
    },
    **{
        f"{name} + LeastSquares + Distillation": Method(
            cut, partial(cut, compensation=lp.LeastSquares()), teacher=by_outputs
        )
        for name, cut in _CUTS.items()
    },
    "Magnitude, inside + Distillation of features": Method(
        _CUTS["Magnitude, inside"], teacher=by_features
    ),
    "Magnitude, inside + LeastSquares + Distillation of features": Method(
        _CUTS["Magnitude, inside"],
        partial(_CUTS["Magnitude, inside"], compensation=lp.LeastSquares()),
        teacher=by_features,
    ),
    "Auto + LeastSquares": Method(best, partial(best, compensation=lp.LeastSquares())),
    "Magnitude, inside + GroupLasso + LeastSquares": Method(
        _CUTS["Magnitude, inside"], train=sparse_learning
    ),
    "Gates, inside + LeastSquares": Method(_CUTS["Magnitude, inside"], train=gated),
    "Magnitude, inside, gradual + LeastSquares": Method(_CUTS["Magnitude, inside"], train=gradual),
    "balanced": Method(_CUTS["Magnitude, uniform"], train=balanced),
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
