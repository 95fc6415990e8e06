"""Train and score networks; every method trains by this."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from dueling.problem import Problem, Split, Splits


class Learner(L.LightningModule):
    """A network under one cycle of the learning rate (Smith & Topin, 2017, 1708.07120).

    Args:
        problem: what it learns.
        network: what learns.
        rate: the highest learning rate.
    """

    def __init__(self, problem: Problem, network: nn.Module, rate: float) -> None:
        super().__init__()
        self.problem = problem
        self.network = network
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        """Map prepared inputs to outputs."""
        outputs: Tensor = self.network(inputs)
        return outputs

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch of stored inputs."""
        return F.cross_entropy(self(self.problem.augment(batch[0])), batch[1])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One cycle; norms and biases do not decay."""
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters() if p.dim() > 1]},
            {"params": [p for p in self.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        ]
        optimizer: torch.optim.Optimizer
        if self.problem.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                groups, self.rate, momentum=0.9, nesterov=True, weight_decay=5e-4
            )
        else:
            optimizer = torch.optim.AdamW(groups, self.rate, weight_decay=0.05)
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.rate, total_steps=steps, pct_start=0.2, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def batches(problem: Problem, split: Split) -> DataLoader[Any]:
    """Return shuffled batches of stored inputs and classes."""
    data = TensorDataset(split.inputs, split.classes)
    size = min(problem.batch_size, len(data))
    sampler = BatchSampler(RandomSampler(data), size, drop_last=True)
    return DataLoader(data, batch_size=None, sampler=sampler)


def train(
    problem: Problem,
    network: nn.Module,
    data: Splits,
    epochs: int,
    rate: float,
    callbacks: Sequence[L.Callback] = (),
) -> None:
    """Train in place, from today's random state.

    Args:
        problem: what it learns.
        network: what learns; it comes back in evaluation mode.
        data: of which the training part is seen.
        epochs: over it.
        rate: the highest learning rate.
        callbacks: what else happens.
    """
    trainer = L.Trainer(
        accelerator="cpu",
        precision=problem.precision,  # type: ignore[arg-type] # one of the words it takes
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    network.train().to(memory_format=torch.channels_last)  # the Trainer leaves the mode as it is
    learner = Learner(problem, network, rate)
    learner.example_input_array = problem.prepare(data.train.inputs[:1])
    trainer.fit(learner, batches(problem, data.train))
    network.eval()


@torch.no_grad()
def score(problem: Problem, network: nn.Module, split: Split) -> float:
    """Return the accuracy of the network in float32, in evaluation mode."""
    network.eval()
    outputs = [network(problem.prepare(part)) for part in split.inputs.split(500)]
    return float((torch.cat(outputs).argmax(1) == split.classes).float().mean())


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the batch norms of a network."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@torch.no_grad()
def renew_norms(problem: Problem, network: nn.Module, split: Split, steps: int = 32) -> None:
    """Estimate the statistics of batch norms anew, in place.

    Args:
        problem: what the network has learned.
        network: with batch norms.
        split: of which that many training batches are seen.
        steps: how many.
    """
    norms = batch_norms(network)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    for batch, _ in zip(batches(problem, split), range(steps), strict=False):
        network(problem.augment(batch[0]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def dense(problem: Problem, data: Splits, seed: int, folder: Path) -> nn.Module:
    """Return the dense network of a seed, trained or read from the folder.

    Args:
        problem: what it learns.
        data: what it learns from.
        seed: of its weights and of the order of its data.
        folder: where `NAME-EPOCHS-SEED.pt` lies or will lie.
    """
    path = folder / f"{problem.name}-{problem.epochs}-{seed}.pt"
    if not path.exists():
        torch.manual_seed(seed)
        network = problem.build()
        train(problem, network, data, problem.epochs, problem.learning_rate)
        torch.save(network.state_dict(), path)
    network = problem.build()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def quiet() -> None:
    """Silence the Trainer and take one thread, as every run does."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
