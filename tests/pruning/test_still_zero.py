"""Masked weights stay zero, and are multiplied by their masks only where they might not be."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_prune.pruning.enforcement import Enforcement
from lightning_prune.units.weight_mask import WeightMask

KEPT = torch.tensor([True, False, True, False])


class Training:
    """A weight of which half is masked, and steps by random gradients."""

    def __init__(self, optimizer: Callable[..., Optimizer], **options: Any) -> None:
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 3))
        self.optimizer = optimizer([self.weight], **{"lr": 0.1, **options})
        for _ in range(2):  # its state knows of no mask
            self.weight.grad = torch.randn(4, 3)
            self.optimizer.step()
        self.masks = {"w": WeightMask(torch.Size([4, 3]), {0: KEPT})}
        self.enforcement = Enforcement({"w": self.weight}, self.masks)
        self.enforcement.mask_weights()
        self.products = 0
        mask_weights = self.enforcement.mask_weights

        def counted(*args: Any) -> None:
            self.products += 1
            mask_weights(*args)

        self.enforcement.mask_weights = counted  # type: ignore[method-assign]

    def step(self, meanwhile: Callable[[], object] = lambda: None, sparse: bool = False) -> int:
        """Take a step; return how often weights were multiplied by their masks."""
        before, gradient = self.products, torch.randn(4, 3)
        self.weight.grad = gradient.to_sparse() if sparse else gradient
        self.enforcement.mask_gradients()
        self.enforcement.begin_step(self.optimizer)
        meanwhile()
        self.optimizer.step()
        self.enforcement.end_step(self.optimizer)
        return self.products - before

    @property
    def masked(self) -> Tensor:
        return self.weight.detach()[~KEPT]


ELEMENTWISE: dict[str, tuple[Any, dict[str, Any]]] = {
    "SGD": (torch.optim.SGD, {"weight_decay": 0.1}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    "Adam": (torch.optim.Adam, {"amsgrad": True, "weight_decay": 0.1}),
    "for each": (torch.optim.Adam, {"foreach": True}),
    "fused": (torch.optim.AdamW, {"fused": True}),
    "AdamW": (torch.optim.AdamW, {"lr": torch.tensor(0.1)}),
    "NAdam": (torch.optim.NAdam, {}),
    "RAdam": (torch.optim.RAdam, {}),
    "Adamax": (torch.optim.Adamax, {}),
    "Adagrad": (torch.optim.Adagrad, {"initial_accumulator_value": 0.1}),
    "Adadelta": (torch.optim.Adadelta, {}),
    "RMSprop": (torch.optim.RMSprop, {"momentum": 0.9, "centered": True}),
    "ASGD": (torch.optim.ASGD, {"weight_decay": 0.1}),
    "Rprop": (torch.optim.Rprop, {}),
}
OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Adafactor, whose factors are of rows": (torch.optim.Adafactor, {}),
    "of one's own": (type("Own", (torch.optim.SGD,), {}), {}),
}


@pytest.mark.parametrize(("optimizer", "options"), ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_an_optimizer_that_moves_elements_by_themselves_leaves_zeros(optimizer, options):
    training = Training(optimizer, **options)
    assert [training.step() for _ in range(5)] == [0] * 5
    assert not training.masked.any()
    assert not training.masked.signbit().any()
    assert training.weight[KEPT].all()


@pytest.mark.parametrize(("optimizer", "options"), OTHERS.values(), ids=OTHERS)
def test_after_other_optimizers_zeros_are_made_again(optimizer, options):
    training = Training(optimizer, **options)
    assert training.step() == 1
    assert not training.masked.any()


def write_weight(training: Training) -> None:
    with torch.no_grad():
        training.weight.add_(1.0)


def move_weight(training: Training) -> None:
    training.weight.data = torch.ones(4, 3)


BETWEEN = {"a weight that was written to": write_weight, "a weight elsewhere": move_weight}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_what_was_written_between_two_steps_is_masked(between):
    training = Training(torch.optim.SGD)
    between(training)
    assert [training.step(), training.step()] == [1, 0]
    assert not training.masked.any()


def add_noise(training: Training) -> None:
    training.weight.grad.add_(1.0)


def other_gradient(training: Training) -> None:
    training.weight.grad = torch.ones(4, 3)


def other_gradient_written_to_as_often(training: Training) -> None:
    gradient = torch.zeros(4, 3)
    while gradient._version < training.weight.grad._version:
        gradient.add_(1.0)
    training.weight.grad = gradient


MEANWHILE = {
    "noise": add_noise,
    "another gradient": other_gradient,
    "another gradient, written to as often": other_gradient_written_to_as_often,
}


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=MEANWHILE)
def test_gradients_that_change_before_the_step_are_no_matter(meanwhile):
    training = Training(torch.optim.SGD)
    assert training.step(lambda: meanwhile(training)) == 1
    assert not training.masked.any()


def test_after_a_step_that_nobody_announced_zeros_are_made_again():
    training = Training(torch.optim.SGD)
    training.step()
    write_weight(training)
    training.enforcement.end_step(training.optimizer)
    assert not training.masked.any()


def test_a_step_that_was_announced_and_never_came_is_no_matter():
    training = Training(torch.optim.SGD)
    training.weight.grad = None
    training.enforcement.begin_step(training.optimizer)
    write_weight(training)
    training.enforcement.begin_step(training.optimizer)
    training.optimizer.step()
    training.enforcement.end_step(training.optimizer)
    assert not training.masked.any()


def test_to_mask_one_weight_says_nothing_of_another():
    weights = [nn.Parameter(torch.ones(4, 3)) for _ in range(2)]
    masks = {name: WeightMask(torch.Size([4, 3]), {0: KEPT}) for name in "ab"}
    enforcement = Enforcement(dict(zip("ab", weights, strict=True)), masks)
    enforcement.mask_weights(weights[:1])
    assert [enforcement.holds(weight) for weight in weights] == [True, False]


def test_gradients_that_are_sparse_are_not_masked():
    training = Training(torch.optim.SGD)
    assert training.step(sparse=True) == 1
    assert not training.masked.any()


def test_state_that_was_loaded_is_masked():
    training, other = (Training(torch.optim.SGD, momentum=0.9) for _ in range(2))
    other.step(lambda: add_noise(other))
    training.step()
    training.optimizer.load_state_dict(other.optimizer.state_dict())
    assert [training.step() for _ in range(3)] == [0] * 3
    assert not training.masked.any()


def test_several_optimizers_are_told_apart():
    weights = [nn.Parameter(torch.ones(4, 3)) for _ in range(2)]
    masks = {name: WeightMask(torch.Size([4, 3]), {0: KEPT}) for name in "ab"}
    enforcement = Enforcement(dict(zip("ab", weights, strict=True)), masks)
    enforcement.mask_weights()
    optimizers = [torch.optim.SGD([weight], lr=0.1, momentum=0.9) for weight in weights]
    for optimizer in optimizers * 2:
        for weight in weights:
            weight.grad = torch.ones(4, 3)
        enforcement.mask_gradients()
        enforcement.begin_step(optimizer)
        weights[1].grad = torch.ones(4, 3)  # not of the first optimizer
        optimizer.step()
        enforcement.end_step(optimizer)
    assert not any(weight.detach()[~KEPT].any() for weight in weights)
