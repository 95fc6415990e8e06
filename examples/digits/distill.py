"""Let a pruned network recover under its dense teacher: knowledge distillation.

    python examples/digits/distill.py --sparsity 0.9

Trains a dense network, prunes two copies of it in the same way, and lets one recover from the
labels alone, the other from the labels and the teacher. `FromTeacher` is all that distillation
takes: a mixin for any LightningModule that classifies.

Whether a teacher helps depends on the task. On these digits it is a matter of chance: with
``--width 16 --epochs 12 --recovery 8`` seed 0 ended at a test accuracy of 0.9399 from the labels
and 0.9421 from the teacher, seed 1 at 0.8708 and 0.8174.
"""

from __future__ import annotations

import argparse
import copy
import logging
import warnings

import lightning as L
import torch
import torch.nn.functional as F
from data import DigitsData
from model import DigitsClassifier
from torch import Tensor, nn

import lightning_prune as lp


class FromTeacher(L.LightningModule):
    r"""A mixin that adds the distance to a teacher's outputs to a loss.

    .. math:: T^2 \, \mathrm{KL}(\mathrm{softmax}(z_t / T) \,\|\, \mathrm{softmax}(z_s / T))

    Hinton et al., 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
    """

    def learn_from(self, teacher: nn.Module, temperature: float = 2.0, weight: float = 0.5) -> None:
        """Set the teacher.

        Args:
            teacher: a trained module with the same inputs and outputs; it is not changed.
            temperature: of both softmaxes; more shows more of what the teacher knows.
            weight: of the teacher, in [0, 1]; the rest is that of the labels.
        """
        frozen = copy.deepcopy(teacher).eval().requires_grad_(False)
        # In a list, so that it is no part of this module: not trained, pruned, saved or compacted.
        self._teacher = [frozen]
        self._temperature, self._weight = temperature, weight

    def with_teacher(self, loss: Tensor, inputs: Tensor, logits: Tensor) -> Tensor:
        """Return the weighted sum of ``loss`` and the distance to the teacher."""
        teacher = self._teacher[0].to(inputs.device)
        with torch.no_grad():
            expected = F.log_softmax(teacher(inputs) / self._temperature, dim=1)
        found = F.log_softmax(logits / self._temperature, dim=1)
        distance = F.kl_div(found, expected, reduction="batchmean", log_target=True)
        return (1 - self._weight) * loss + self._weight * self._temperature**2 * distance


class Student(FromTeacher, DigitsClassifier):
    """The network of the example, with a teacher."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch by its labels and the teacher."""
        images, digits = batch
        logits = self(images)
        return self.with_teacher(F.cross_entropy(logits, digits), images, logits)


def main() -> None:
    """Train, prune twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--epochs", type=int, default=20, help="of the dense training")
    parser.add_argument("--recovery", type=int, default=10, help="epochs after the pruning")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    options = {"width": arguments.width, "latency_batch_size": 16}

    L.seed_everything(arguments.seed, verbose=False)
    teacher = DigitsClassifier(**options)
    print(f"dense: {_fit(teacher, arguments.epochs):.4f}")
    for name, student in (("labels", DigitsClassifier(**options)), ("teacher", Student(**options))):
        L.seed_everything(arguments.seed, verbose=False)
        student.load_state_dict(teacher.state_dict())
        if isinstance(student, Student):
            student.learn_from(teacher)
        pruning = lp.Pruning(
            arguments.sparsity,
            lp.Taylor(),
            allocation=lp.Uniform(),
            schedule=lp.OneShot(epoch=1),
        )
        accuracy = _fit(student, 1 + arguments.recovery, pruning, lp.Compaction(latency=False))
        print(f"recovered from {name}: {accuracy:.4f}")


def _fit(model: L.LightningModule, epochs: int, *callbacks: L.Callback) -> float:
    """Train, and return the test accuracy after the last epoch."""
    trainer = L.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    data = DigitsData()
    trainer.fit(model, data)
    (results,) = trainer.test(model, data, verbose=False)
    return float(results["test/accuracy"])


if __name__ == "__main__":
    main()
