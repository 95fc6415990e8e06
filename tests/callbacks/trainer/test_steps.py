from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from lightning_prune.callbacks.trainer.steps import StepCall, run, try_steps
from lightning_prune.modules.twin import twin

BATCH = [torch.randn(4, 3), torch.randint(2, (4,))]


class Lit(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


def methods(pl_module: L.LightningModule, batch: Any = BATCH) -> list[str]:
    return [step.method for step in try_steps(pl_module, batch).examples]


def test_steps_that_do_something_of_their_own_are_examples_that_are_not_measured() -> None:
    class Net(Lit):
        def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.training_step(batch, batch_idx)

        def predict_step(self, batch: Any) -> Tensor:
            return self(batch[0]).softmax(-1)

    found = try_steps(Net(), BATCH)
    assert [(e.method, e.measured) for e in found.examples] == [
        ("training_step", False),
        ("predict_step", False),
    ]
    assert (found.failures, found.averaged) == ({}, frozenset())


def test_a_step_of_lightning_itself_is_no_step_of_the_user() -> None:
    class Net(L.LightningModule):
        pass

    assert try_steps(Net(), BATCH).examples == ()


@pytest.mark.parametrize("indices", [0, 1, 2])
def test_a_step_gets_as_many_indices_as_it_asks_for(indices: int) -> None:
    class Net(Lit):
        if indices == 0:

            def training_step(self, batch: Any) -> Tensor:
                return self(batch[0]).sum()

        elif indices == 2:

            def training_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Tensor:
                return self(batch[0]).sum() + dataloader_idx

    [step] = try_steps(Net(), BATCH).examples
    assert step.args == (BATCH, *[0] * indices)


def test_what_a_step_calls_forward_with_is_known_even_if_it_fails_later() -> None:
    class Net(Lit):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.forward(x=batch[0] + 1)
            self(batch[0])
            raise RuntimeError("no")

    found = try_steps(Net(), BATCH)
    assert found.failures == {"training_step": "RuntimeError: no"}
    assert found.examples == ()
    assert found.forward is not None
    assert torch.equal(found.forward.kwargs["x"], BATCH[0] + 1)
    assert not found.forward.kwargs["x"].is_inference()


def test_manual_optimization_is_not_run() -> None:
    class Net(Lit):
        automatic_optimization = False

    assert try_steps(Net(), BATCH).failures == {"training_step": "it optimizes manually"}


@pytest.mark.parametrize("asked", ["manual_backward", "toggle_optimizer", "lr_schedulers"])
def test_a_step_that_optimizes_cannot_be_recorded(asked: str) -> None:
    class Net(Lit):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return getattr(self, asked)(super().training_step(batch, batch_idx))

    assert "is not optimized" in try_steps(Net(), BATCH).failures["training_step"]


def test_a_step_that_needs_train_mode_gets_it() -> None:
    class Net(Lit):
        def forward(self, x: Tensor) -> Any:
            out = nn.functional.dropout(super().forward(x), training=self.training)
            return (out, out) if self.training else out

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            first, second = self(batch[0])
            return (first + second).sum()

    model = Net()
    [step] = try_steps(model, [BATCH[0]]).examples
    assert step.trains
    copied = twin(model).eval()
    assert len({step(copied)[0].item() for _ in range(9)}) == 1  # nothing is left out at random
    assert not copied.training


class Hooked(Lit):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.x = batch[0]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(self.x).sum() if hasattr(self, "x") else self(batch[0]).mean()


def test_the_hooks_around_a_step_run_with_it() -> None:
    model = Hooked()
    [step] = try_steps(model, BATCH).examples
    assert step.hooked
    assert torch.allclose(step(twin(model))[0], model(BATCH[0]).sum())


def test_hooks_that_cannot_run_on_a_copy_are_left_out() -> None:
    class Net(Hooked):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            assert outputs["loss"].dim() == 0
            self.lr_schedulers().step()

    model = Net()
    [step] = try_steps(model, BATCH).examples
    assert not step.hooked
    assert torch.allclose(step(twin(model))[0], model(BATCH[0]).mean())


def test_a_frozen_parameter_that_follows_another_is_known_even_while_they_are_equal() -> None:
    class Net(Lit):
        def __init__(self) -> None:
            super().__init__()
            self.teacher = twin(self.layer).requires_grad_(False)
            self.fixed = twin(self.layer).requires_grad_(False)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            with torch.no_grad():
                for p, q in zip(self.layer.parameters(), self.teacher.parameters(), strict=True):
                    q.lerp_(p, 0.1)
            return (self(batch[0]) - self.teacher(batch[0]) + self.fixed(batch[0])).mean()

    assert try_steps(Net(), BATCH).averaged == {"teacher.weight", "teacher.bias"}


def test_the_same_operations_are_the_same() -> None:
    model = Lit()
    steps = [
        StepCall((batch, 0), method="training_step") for batch in (BATCH, [t[:2] for t in BATCH])
    ]
    first, again, other = (run(twin(model), step) for step in (steps[0], *steps))
    assert first == again
    assert first != other
