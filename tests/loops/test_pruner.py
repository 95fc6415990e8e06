"""A loop of one's own holds the same masks as a Trainer, and goes on where it was killed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp

pytestmark = pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
EPOCHS = 4
OPTIONS: dict[str, dict[str, Any]] = {
    "gradients of channels": {},
    "compensated": {"compensation": lp.LeastSquares()},
    "by steps": {"schedule": lp.Cubic(start_step=2, end_step=13, every=3)},
    "weights, activations": {"criterion": lp.Wanda(), "granularity": lp.Weight()},
    "magnitude from the start": {
        "criterion": lp.Magnitude(),
        "schedule": lp.Linear(start_epoch=0, end_epoch=3),
    },
    "channels come back": {"schedule": lp.DenseSparseDense(start_epoch=1, end_epoch=3)},
    "weights move": {
        "granularity": lp.Weight(),
        "schedule": lp.Regrow(start_epoch=1, end_epoch=3, share=0.3),
    },
}


def batches() -> list[list[Tensor]]:
    found = load_digits()
    images = torch.tensor(found.images[:320], dtype=torch.float32).unsqueeze(1) / 16
    data = TensorDataset(images, torch.tensor(found.target[:320]))
    return list(DataLoader(data, 64))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)
    )


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


def loss_of(model: nn.Module, batch: list[Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


class Module(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return loss_of(self, batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adam(self)


def in_a_trainer(options: dict[str, Any]) -> nn.Module:
    module = Module()
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[lp.Pruning(0.5, **options)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(batches(), batch_size=None))
    return module.net


def new_pruner(model: nn.Module, options: dict[str, Any]) -> lp.Pruner:
    images = [x for x, _ in batches()]  # a Trainer renews norms by its training data
    return lp.Pruner(model, images[0], sparsity=0.5, batches=images, **options)


def loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pruner: lp.Pruner,
    epochs: Any = range(EPOCHS),
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> None:
    for epoch in epochs:
        for batch in batches():
            pruner.step(epoch)
            backward(loss_of(model, batch))
            optimizer.step()
            optimizer.zero_grad()


def in_a_plain_loop(options: dict[str, Any]) -> nn.Module:
    model = net()
    pruner, optimizer = new_pruner(model, options), adam(model)
    pruner.attach(optimizer)
    loop(model, optimizer, pruner)
    return model


def under_fabric(options: dict[str, Any]) -> nn.Module:
    fabric = Fabric(accelerator="cpu", devices=1)
    plain = net()
    model, optimizer = fabric.setup(plain, adam(plain))
    pruner = new_pruner(model, options)
    pruner.attach(optimizer)
    loop(model, optimizer, pruner, backward=fabric.backward)
    return plain


def reloaded(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def killed_and_resumed(options: dict[str, Any]) -> nn.Module:
    model = net()
    pruner, optimizer = new_pruner(model, options), adam(model)
    pruner.attach(optimizer)
    loop(model, optimizer, pruner, range(2))
    held = reloaded([part.state_dict() for part in (model, optimizer, pruner)])
    other = net()
    again, stepper = new_pruner(other, options), adam(other)
    again.attach(stepper)
    for part, state in zip((other, stepper, again), held, strict=True):
        part.load_state_dict(state)
    loop(other, stepper, again, range(2, EPOCHS))
    return other


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_loop_ends_with_the_weights_of_a_trainer(options: dict[str, Any]) -> None:
    trained = in_a_trainer(options)
    assert any((weight == 0).any() for weight in trained.parameters()) or "schedule" in options
    for run in (in_a_plain_loop, under_fabric, killed_and_resumed):
        assert same(run(options), trained), run.__name__


def test_finish_removes_what_is_masked() -> None:
    model = net()
    pruner, optimizer = new_pruner(model, {"of": "units"}), adam(model)
    pruner.attach(optimizer)
    loop(model, optimizer, pruner)
    report = pruner.finish(latency=False)
    assert report.max_rel_error < 1e-5
    assert model[0].out_channels == 4
    assert model[4].in_features == 144
    assert not optimizer._optimizer_step_post_hooks
    loop_of_the_compact = adam(model)
    loss_of(model, batches()[0]).backward()
    loop_of_the_compact.step()


def test_finish_removes_what_is_masked_whatever_was_written_there_since() -> None:
    model = net()
    pruner, optimizer = new_pruner(model, {"of": "units"}), adam(model)
    pruner.attach(optimizer)
    loop(model, optimizer, pruner)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    pruner.finish(latency=False)
    assert model[0].out_channels == 4


def test_updates_say_what_they_reached() -> None:
    model = net()
    pruner, optimizer = new_pruner(model, {"of": "units"}), adam(model)
    pruner.attach(optimizer)
    reports = []
    for epoch in range(3):
        reports.append(pruner.step(epoch))
        loss_of(model, batches()[0]).backward()
        optimizer.step()
    assert [report and report.sparsity for report in reports] == [None, 0.5, None]
    assert pruner.sparsity == 0.5
    assert pruner.steps == 3


def test_a_schedule_in_epochs_needs_the_epoch() -> None:
    with pytest.raises(ValueError, match=r"Expected `epoch` to be given, as OneShot\(epoch=1"):
        new_pruner(net(), {}).step()


def test_an_optimizer_that_was_not_attached_is_missed_once() -> None:
    pruner = new_pruner(net(), {})
    with pytest.warns(UserWarning, match=r"The update waits\. Call `attach\(optimizer\)`"):
        pruner.step(1)
    with warnings.catch_warnings(action="error"):
        assert pruner.step(1) is None
    with pytest.warns(UserWarning, match=r"sparsity 0\.5 at epoch 1, but got 0\.0000 when the"):
        pruner.finish(latency=False)


def test_gradients_are_counted_once_where_the_loop_clips_them() -> None:
    clipped, plain = net(), net()
    scores = []
    for model, by_hand in ((clipped, True), (plain, False)):
        pruner, optimizer = new_pruner(model, {}), adam(model)
        pruner.attach(optimizer)
        loss_of(model, batches()[0]).backward()
        if by_hand:
            pruner.accumulate()
            nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
        scores.append(pruner.scorer.scores()[0])
    assert torch.equal(*scores)


def test_a_closure_makes_the_gradients_itself() -> None:
    model = net()
    pruner = new_pruner(model, {})
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1)
    pruner.attach(optimizer)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, batches()[0])
        loss.backward()
        pruner.accumulate()
        return loss

    assert pruner.step(0) is None
    optimizer.step(closure)
    report = pruner.step(1)
    assert report is not None
    optimizer.step(closure)
    removed = [~mask for mask in pruner.masks.values()]
    weights = [pruner.masks.weights[name] for name in pruner.masks]
    assert removed
    assert all((w[r] == 0).all() for w, r in zip(weights, removed, strict=True))


class Still(torch.optim.Optimizer):
    """Moves nothing."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model.parameters(), {})

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            closure()


def test_gradients_from_before_a_closure_are_not_counted() -> None:
    def scores(*, stale: bool) -> Tensor:
        model = net()
        pruner, optimizer = new_pruner(model, {}), Still(model)
        pruner.attach(optimizer)

        def closure() -> None:
            optimizer.zero_grad()
            loss_of(model, batches()[0]).backward()
            pruner.accumulate()

        if stale:
            loss_of(model, batches()[1]).backward()
        optimizer.step(closure)
        return pruner.scorer.scores()[0]

    assert torch.equal(scores(stale=True), scores(stale=False))


def test_scaled_gradients_count_by_what_they_are_unscaled() -> None:
    def scores(scale: float) -> Tensor:
        model = net()
        pruner, optimizer = new_pruner(model, {"criterion": lp.Taylor()}), Still(model)
        optimizer.grad_scale = torch.tensor(scale)  # as a scaler tells fused optimizers
        pruner.attach(optimizer)
        (loss_of(model, batches()[0]) * scale).backward()
        optimizer.step()
        return pruner.scorer.scores()[0]

    torch.testing.assert_close(scores(8.0), scores(1.0))


def test_averages_of_weights_are_masked_on_demand() -> None:
    model = net()
    average = AveragedModel(model)
    pruner = new_pruner(model, {"criterion": lp.Magnitude(), "schedule": lp.OneShot(epoch=0)})
    pruner.step(0)
    pruner.masks.apply_to_copy(average.module)
    assert all((a[~m] == 0).all() for a, m in _pairs(average.module, pruner))


def _pairs(model: nn.Module, pruner: lp.Pruner) -> list[tuple[Tensor, Tensor]]:
    parameters = dict(model.named_parameters())
    return [(parameters[name].detach(), mask) for name, mask in pruner.masks.items()]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sparsity": 1.5}, ValueError, "Expected `sparsity`"),
        ({"schedule": "Cubic"}, TypeError, "Expected `schedule`"),
        ({"exclude": ["tail"]}, ValueError, "Expected `exclude`"),
        ({"criterion": lp.Grasp()}, ValueError, "one that training can score"),
        ({"schedule": lp.OneShot(step=0)}, ValueError, "no gradients have been seen yet"),
    ],
)
def test_wrong_options_are_refused_at_once(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lp.Pruner(net(), batches()[0][0], **{"sparsity": 0.5, **options})


def test_missing_inputs_and_optimizers_of_another_kind_are_named() -> None:
    with pytest.raises(ValueError, match="Expected `example_inputs` to be given"):
        lp.Pruner(net(), sparsity=0.5)
    with pytest.raises(TypeError, match="Expected `optimizers`"):
        new_pruner(net(), {}).attach("Adam")  # type: ignore[arg-type]


def test_the_state_of_other_options_is_refused() -> None:
    held = new_pruner(net(), {}).state_dict()
    with pytest.raises(ValueError, match="of='parameters', but got of='units'"):
        new_pruner(net(), {"of": "units"}).load_state_dict(held)


def test_fractions_of_a_training_of_unknown_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got OneShot\(at=0.5\), .* Call `schedule.resolved"):
        lp.Pruner(nn.Linear(4, 4), torch.randn(2, 4), sparsity=0.5, schedule=lp.OneShot(at=0.5))
