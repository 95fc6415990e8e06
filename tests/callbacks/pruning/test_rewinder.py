from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.fits import Net, data, fit, make_trainer
from torch import Tensor

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Magnitude
from lightning_prune.granularities import Weight
from lightning_prune.pruning.rewinding import Rewinding
from lightning_prune.schedules import Iterative, OneShot

RESUMED = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")


class Decaying(Net):
    """Adam under a learning rate that halves in every epoch."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.08)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


class Note(L.Callback):
    """Notes weights and learning rate at the first batch of every epoch, after updates."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.rates: list[float] = []

    def on_before_zero_grad(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step % trainer.num_training_batches == 0:
            self.weights.append(pl_module.head.weight.detach().clone())
            self.rates.append(optimizer.param_groups[0]["lr"])


def make(**options: Any) -> Pruning:
    return Pruning(
        0.75,
        Magnitude(),
        granularity=Weight(),
        schedule=Iterative(rounds=2, start_epoch=2, recovery_epochs=2),
        rewind=Rewinding(epoch=1, **options),
    )


def test_kept_weights_return_after_every_update() -> None:
    pruning, note = make(), Note()
    fit(Decaying(), pruning, note, epochs=6)
    assert pruning.pruner is not None
    start, first, second = note.weights[1], note.weights[2], note.weights[4]
    assert torch.equal(first, start * (first != 0))
    assert torch.equal(second, start * (second != 0))
    assert 0 < (first == 0).sum() < (second == 0).sum()
    assert note.rates == pytest.approx([0.08 * 0.5**e for e in range(6)])


def test_another_model_returns_to_its_own_weights() -> None:
    pruning, note, other = make(), Note(), Decaying()
    fit(Decaying(), pruning, epochs=6)
    with torch.no_grad():
        other.head.weight.mul_(2.0)
    fit(other, pruning, note, epochs=6)
    start, first = note.weights[1], note.weights[2]
    assert torch.equal(first, start * (first != 0))


def test_the_learning_rate_returns_alone_or_as_well() -> None:
    for weights in (False, True):
        pruning, note = make(weights=weights, learning_rate=True), Note()
        fit(Decaying(), pruning, note, epochs=6)
        # From the rate of epoch 1 in epochs 2 and 4.
        expected = [0.08, 0.04, 0.04, 0.02, 0.04, 0.02]
        assert note.rates == pytest.approx(expected)
        assert torch.equal(note.weights[2], note.weights[1] * (note.weights[2] != 0)) == weights


def test_what_was_pruned_stays_so() -> None:
    model, pruning = Decaying(), make()
    fit(model, pruning, epochs=6)
    assert pruning.pruner is not None
    for name, mask in pruning.pruner.masks.items():
        assert (model.get_parameter(name)[~mask] == 0).all()
    assert pruning.pruner.sparsity == pytest.approx(0.75, abs=0.01)


@RESUMED
@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_resumed_is_uninterrupted(tmp_path: Any, epoch: int) -> None:
    options = {"learning_rate": True}
    whole, resumed = Decaying(), Decaying()
    checkpoint = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    fit(whole, make(**options), checkpoint, epochs=6, enable_checkpointing=True)
    trainer = make_trainer(make(**options), epochs=6)
    (path,) = tmp_path.glob(f"epoch={epoch}*.ckpt")
    trainer.fit(resumed, data(), ckpt_path=path)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_update_before_the_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="start at epoch 5 or later"):
        Pruning(0.5, schedule=OneShot(epoch=2), rewind=Rewinding(epoch=5))
