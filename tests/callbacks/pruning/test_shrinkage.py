from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.fits import Net, data, fit, make_trainer
from torch import Tensor

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Magnitude, Taylor, Wanda
from lightning_prune.granularities import Channel
from lightning_prune.regularizations import GroupLasso, GrowingL2, Regularization
from lightning_prune.schedules import Linear, OneShot
from lightning_prune.units.masks import find_dead

RESUMED = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")


def make(regularization: Regularization | None, criterion: Any = None, **options: Any) -> Pruning:
    return Pruning(
        0.5,
        criterion or Magnitude(),
        granularity=Channel(),
        schedule=options.pop("schedule", OneShot(epoch=4)),
        regularization=regularization,
        of="units",
        **options,
    )


class Loss(L.Callback):
    """Notes what the outputs lose when the masks are updated."""

    def __init__(self) -> None:
        self.before: Tensor | None = None
        self.change = 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.before = self._outputs(pl_module)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.current_epoch == 4 and self.before is not None:
            self.change = float((self._outputs(pl_module) - self.before).abs().mean())
            self.before = None

    @torch.no_grad()
    def _outputs(self, pl_module: Any) -> Tensor:
        mode = pl_module.training
        outputs = pl_module.eval()(next(iter(data()))[0])
        pl_module.train(mode)
        return outputs


@pytest.mark.parametrize(
    "regularization", [GrowingL2(strength=2.0, every=1, ceiling=50.0), GroupLasso(strength=2.0)]
)
def test_less_is_lost_at_the_cut(regularization: Regularization) -> None:
    changes = []
    for option in (None, regularization):
        loss = Loss()
        model = Net()
        model.example_input_array = torch.zeros(2, 2, 6, 6)
        fit(model, make(option), loss, epochs=6)
        changes.append(loss.change)
    plain, regularized = changes
    assert regularized < 0.5 * plain


@RESUMED
@pytest.mark.parametrize("epoch", [1, 3])
def test_resumed_is_uninterrupted(tmp_path: Any, epoch: int) -> None:
    def pruning() -> Pruning:
        schedule = Linear(start_epoch=1, end_epoch=5, every=2)
        return make(GrowingL2(strength=1.0), Taylor(), schedule=schedule)

    def net() -> Net:
        model = Net("momentum")
        model.example_input_array = torch.zeros(2, 2, 6, 6)
        return model

    whole, resumed = net(), net()
    checkpoint = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    fit(whole, pruning(), checkpoint, epochs=7, enable_checkpointing=True)
    (path,) = tmp_path.glob(f"epoch={epoch}*.ckpt")
    make_trainer(pruning(), epochs=7).fit(resumed, data(), ckpt_path=path)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_target_is_reached() -> None:
    pruning, model = make(GroupLasso()), Net("Adam")
    fit(model, pruning, epochs=6)
    assert pruning.pruner is not None
    dead = find_dead(pruning.pruner.masks.groups, dict(model.named_parameters()))
    assert sum(int(d.sum()) for d in dead) == 7


def test_activations_differ_between_ranks() -> None:
    with pytest.raises(ValueError, match="equal on all ranks at every step"):
        make(GrowingL2(), Wanda())


def test_a_name_is_no_regularization() -> None:
    with pytest.raises(TypeError, match="object of Regularization"):
        make("GrowingL2")  # type: ignore[arg-type]


class Chosen(L.Callback):
    """Notes at the first batch of every epoch how long units have been shrinking."""

    def __init__(self, pruning: Pruning) -> None:
        self.pruning, self.steps = pruning, list[int]()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            state = self.pruning.state_dict()["regularizer"]
            self.steps.append(state["steps"] if state["aimed"] else -1)


def test_an_update_begins_anew() -> None:
    pruning = make(GrowingL2(), schedule=Linear(start_epoch=0, end_epoch=4, every=2))
    chosen = Chosen(pruning)
    fit(Net(), pruning, chosen, epochs=6)
    assert chosen.steps == [-1, 4, -1, 4, -1, -1]  # updates before epochs 0, 2 and 4


class Ending(L.Callback):
    """Ends a training in the middle."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 5:
            raise InterruptedError


def test_another_model_shrinks_as_by_a_callback_of_its_own() -> None:
    trained = []
    for used in (True, False):
        pruning = make(GrowingL2(strength=2.0, every=1), schedule=OneShot(epoch=2))
        if used:
            with pytest.raises(InterruptedError):  # while units shrink
                fit(Net(), pruning, Ending(), epochs=3)
        torch.manual_seed(3)
        model = Net()
        fit(model, pruning, epochs=3)
        trained.append(model.state_dict())
    for name, tensor in trained[0].items():
        assert torch.equal(tensor, trained[1][name]), name
