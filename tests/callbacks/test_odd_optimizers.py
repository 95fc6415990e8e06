"""Optimizers that step otherwise than by `step`: dead stays dead, and gradients are scored."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from support.fits import BATCHES, Validated, data, make_trainer
from support.optimizers import Coded, Lookahead, Sam, ScheduleFree
from torch import Tensor, nn

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Gradient, Magnitude
from lightning_prune.granularities import Channel, Weight
from lightning_prune.schedules import Linear, OneShot

NO_OPTIMIZER = "ignore:`LightningModule.configure_optimizers` returned `None`"


class Odd(Validated):
    """Notes at every validation how many masked weights are not zero."""

    pruning: Pruning

    def __init__(self, make: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.make = make
        self.revived: list[int] = []

    def configure_optimizers(self) -> Any:
        return None if self.make is None else self.make(list(self.parameters()))

    def optimizer_step(self, epoch: Any, batch_idx: int, optimizer: Any, closure: Any) -> None:
        optimizer.step(closure=closure)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if self.pruning.pruner is not None:
            masks = self.pruning.pruner.masks
            self.revived.append(alive(dict(self.named_parameters()), masks))

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


def alive(weights: dict[str, Any], masks: dict[str, Tensor]) -> int:
    return sum(int((weights[name][~mask] != 0).sum()) for name, mask in masks.items())


class Saves(L.Callback):
    """Notes how many masked weights are not zero in a file: within epochs, and of validations."""

    def __init__(self, pruning: Pruning, path: Path) -> None:
        self.pruning = pruning
        self.path = path
        self.revived: list[int] = []

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if args[-1] == 2:
            self._save(trainer, weights_only=True)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._save(trainer, weights_only=False)

    def _save(self, trainer: L.Trainer, *, weights_only: bool) -> None:
        trainer.save_checkpoint(self.path, weights_only=weights_only)
        state = torch.load(self.path, weights_only=True)["state_dict"]
        assert self.pruning.pruner is not None
        self.revived.append(alive(state, self.pruning.pruner.masks))


class Manual(Odd):
    def __init__(self, make: Callable[[Any], Any] | None = None) -> None:
        super().__init__(make)
        self.automatic_optimization = False


class TwoMoves(Manual):
    """Calls the two moves of SAM."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        for move in (optimizer.climb, optimizer.descend):
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            move()


class Overridden(Odd):
    """Calls the two moves of SAM under automatic optimization."""

    def optimizer_step(self, epoch: Any, batch_idx: int, optimizer: Any, closure: Any) -> None:
        closure()
        optimizer.climb()
        closure()
        optimizer.descend()


class Own(Manual):
    """Makes an optimizer of its own, of which Lightning knows nothing, when it is needed."""

    own: tuple[torch.optim.Optimizer, ...] = ()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.own = self.own or (torch.optim.AdamW(self.parameters(), 0.01, weight_decay=0.1),)
        (optimizer,) = self.own
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        optimizer.step()


class ByHand(Manual):
    """Writes the weights itself."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.zero_grad()
        self.manual_backward(self.loss(batch))
        for parameter in self.parameters():
            parameter.data -= 0.1 * (parameter.grad + 0.1)


class Switched(Odd):
    """Switches a schedule-free optimizer around validations."""

    def on_validation_start(self) -> None:
        self.trainer.optimizers[0].switch(training=False)

    def on_validation_end(self) -> None:
        self.trainer.optimizers[0].switch(training=True)


class Averaged(Odd):
    """Switches an optimizer of the package schedulefree as its readme says."""

    def on_train_epoch_start(self) -> None:
        self.trainer.optimizers[0].train()

    def on_validation_epoch_start(self) -> None:
        self.trainer.optimizers[0].eval()

    def on_validation_epoch_end(self) -> None:
        self.trainer.optimizers[0].train()


class Replacing(Odd):
    """Starts every epoch with a new optimizer."""

    def on_train_epoch_start(self) -> None:
        self.trainer.optimizers = [torch.optim.Adam(self.parameters(), lr=0.02)]


def _lookahead(parameters: Any) -> Any:
    return Lookahead(torch.optim.Adam(parameters, lr=0.02))


def _of(package: str, name: str, **options: Any) -> Callable[[Any], Any]:
    make = getattr(pytest.importorskip(package), name)
    return lambda parameters: make(parameters, **options)


ODD: dict[str, Callable[[], Odd]] = {
    "SAM, by hand": lambda: TwoMoves(Sam),
    "SAM, overridden": lambda: Overridden(Sam),
    "SAM, with a closure": lambda: Odd(Sam),
    "Lookahead": lambda: Odd(_lookahead),
    "schedule-free": lambda: Switched(ScheduleFree),
    "an optimizer of one's own": Own,
    "codes of one byte": lambda: Odd(lambda p: Coded(p, lr=0.1, momentum=0.9)),
    "SGD of schedulefree": lambda: Averaged(_of("schedulefree", "SGDScheduleFree", lr=0.1)),
    "AdamW of schedulefree": lambda: Averaged(_of("schedulefree", "AdamWScheduleFree", lr=0.02)),
    "RAdam of schedulefree": lambda: Averaged(_of("schedulefree", "RAdamScheduleFree", lr=0.02)),
    "8 bits of bitsandbytes": lambda: Odd(
        _of("bitsandbytes.optim", "AdamW8bit", lr=0.01, min_8bit_size=1)
    ),
    "a new one every epoch": lambda: Replacing(torch.optim.SGD),
}


def run(model: Odd, pruning: Pruning, *callbacks: L.Callback, **options: Any) -> None:
    model.pruning = pruning
    trainer = make_trainer(pruning, *callbacks, **options)
    trainer.fit(model, data(), data())


@pytest.mark.parametrize("granularity", [Weight(), Channel()], ids=str)
@pytest.mark.filterwarnings(NO_OPTIMIZER, "ignore:The training step of")
@pytest.mark.parametrize("name", ODD)
def test_masked_weights_are_zero_in_validations_and_checkpoints(
    name: str, granularity: Any, tmp_path: Path
) -> None:
    model = ODD[name]()
    schedule = Linear(start_epoch=0, end_epoch=2)
    pruning = Pruning(0.5, Gradient(), granularity=granularity, schedule=schedule)
    saves = Saves(pruning, tmp_path / "x.ckpt")
    run(model, pruning, saves)
    assert pruning.pruner is not None
    assert pruning.pruner.sparsity == pytest.approx(0.5, abs=0.05)
    assert model.revived
    assert not any(model.revived)
    assert saves.revived == [0] * 8


@pytest.mark.filterwarnings(NO_OPTIMIZER)
@pytest.mark.parametrize("name", ODD)
def test_scores_are_those_of_gradients(name: str) -> None:
    """Two criteria that read gradients and weights choose otherwise."""
    masks = []
    for criterion in (Gradient(), Magnitude()):
        pruning = Pruning(0.5, criterion, granularity=Weight(), schedule=OneShot(epoch=1))
        run(ODD[name](), pruning, epochs=2)
        assert pruning.pruner is not None
        masks.append(torch.cat(pruning.pruner.masks.kept))
    assert not torch.equal(*masks)


@pytest.mark.filterwarnings(NO_OPTIMIZER, "ignore:Expected `pruning` to reach")
def test_weights_that_are_written_by_hand_stay_masked_and_the_lack_of_scores_is_explained() -> None:
    model, pruning = ByHand(), Pruning(0.5, Magnitude(), granularity=Weight())
    run(model, pruning)
    assert model.revived
    assert not any(model.revived)
    pruning = Pruning(0.5, Gradient(), granularity=Weight(), schedule=OneShot(epoch=1))
    with pytest.warns(UserWarning, match="no optimizer was seen to step"):
        run(ByHand(), pruning, epochs=2)


class Swapped(Odd):
    """Validates an average of its weights, which it puts in their place."""

    def on_fit_start(self) -> None:
        self.average = copy.deepcopy(self.state_dict())

    def on_train_batch_end(self, *_: Any) -> None:
        for name, value in self.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 0.1)

    def on_validation_start(self) -> None:
        self.held = copy.deepcopy(self.state_dict())
        self.load_state_dict(self.average)

    def on_validation_end(self) -> None:
        self.load_state_dict(self.held)


def test_averages_that_are_validated_are_masked_and_named_once() -> None:
    model = Swapped(lambda parameters: torch.optim.Adam(parameters, lr=0.01))
    pruning = Pruning(0.5, Magnitude(), granularity=Weight())
    with pytest.warns(UserWarning, match="zero when a validation starts, but got 2") as warnings:
        run(model, pruning)
    assert len([w for w in warnings if "zero when" in str(w.message)]) == 1
    assert len(model.revived) > BATCHES
    assert not any(model.revived)


class Relayered(Odd):
    """Replaces a layer at the start of an epoch, and the optimizer."""

    def on_train_epoch_end(self) -> None:
        if self.current_epoch == 1:
            self.head = copy.deepcopy(self.head)
            nn.init.ones_(self.head.weight)
            self.trainer.strategy.optimizers = [torch.optim.Adam(self.parameters(), lr=0.01)]


@pytest.mark.parametrize("granularity", [Weight(), Channel()], ids=str)
def test_layers_that_are_replaced_are_masked_and_scored(granularity: Any) -> None:
    model = Relayered(lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9))
    schedule = Linear(start_epoch=0, end_epoch=3)
    pruning = Pruning(0.5, granularity=granularity, schedule=schedule)
    run(model, pruning, epochs=5)
    assert pruning.pruner is not None
    assert pruning.pruner.masks.weights["head.weight"] is model.head.weight
    assert pruning.pruner.sparsity == pytest.approx(0.5, abs=0.05)
    assert not any(model.revived)
