from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune.callbacks.accuracy_guard import AccuracyGuard
from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Gradient, Magnitude
from lightning_prune.granularities import Weight
from lightning_prune.schedules import Linear, OneShot

RESUMED = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")


class Cliff(L.LightningModule):
    """Accurate as long as at most ``most`` of its 400 weights are zero."""

    def __init__(self, most: float = 0.56, recovers_after: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(20, 20, bias=False)
        self.most, self.recovers_after, self.low = most, recovers_after, 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        bad = self.sparsity > self.most
        self.low = self.low + 1 if bad else 0
        recovered = 0 < self.recovers_after <= self.low
        self.log("val/accuracy", 0.9 if not bad or recovered else 0.6)

    @property
    def sparsity(self) -> float:
        return float((self.layer.weight == 0).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(8, 20, generator=generator)), batch_size=4)


def fit(model: L.LightningModule, *callbacks: L.Callback, epochs: int = 20, **options: Any) -> Any:
    ckpt_path = options.pop("ckpt_path", None)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"logger": False, "enable_checkpointing": False, **options},
    )
    trainer.fit(model, loader(), DataLoader(TensorDataset(torch.zeros(1, 20))), ckpt_path=ckpt_path)
    return trainer


def make(action: Any = "rollback", criterion: Any = None, **options: Any) -> Any:
    pruning = Pruning(
        0.9,
        criterion or Magnitude(),
        granularity=Weight(),
        schedule=Linear(start_epoch=1, end_epoch=10),
    )
    options = {"max_drop": 0.05, "patience": 1, "min_step": 0.02, **options}
    return pruning, AccuracyGuard("val/accuracy", action=action, **options)


@pytest.mark.parametrize("criterion", [Magnitude(), Gradient()], ids=repr)
@pytest.mark.parametrize("guard_first", [False, True])
def test_an_aggressive_target_ends_at_the_highest_sparsity_that_is_good(
    capsys: Any, criterion: Any, guard_first: bool
) -> None:
    pruning, guard = make(criterion=criterion)
    model = Cliff()
    fit(model, *([guard, pruning] if guard_first else [pruning, guard]))
    assert 0.52 < model.sparsity <= 0.56
    assert guard.reference == pytest.approx(0.9)
    assert any(decision.startswith("back from sparsity") for decision in guard.decisions)
    printed = capsys.readouterr().out
    assert (
        f"guard: sparsity {model.sparsity:.4f} is the highest with a good val/accuracy" in printed
    )


def test_every_checkpoint_holds_the_weights_of_its_metric(tmp_path: Any) -> None:
    pruning, guard = make()
    checkpoint = ModelCheckpoint(
        tmp_path, "{epoch}", save_top_k=-1, monitor="val/accuracy", auto_insert_metric_name=False
    )
    fit(Cliff(), pruning, guard, checkpoint, enable_checkpointing=True)
    assert len(checkpoint.best_k_models) == 20
    for path, value in checkpoint.best_k_models.items():
        weight = torch.load(path, weights_only=True)["state_dict"]["layer.weight"]
        assert float(value) == pytest.approx(0.9 if (weight == 0).float().mean() <= 0.56 else 0.6)


def test_pause_goes_on_when_the_metric_comes_back() -> None:
    pruning, guard = make("pause")
    model = Cliff(recovers_after=3)
    fit(model, pruning, guard, epochs=40)
    assert model.sparsity == pytest.approx(0.9, abs=0.01)


def test_pause_stays_while_it_does_not() -> None:
    pruning, guard = make("pause")
    model = Cliff()
    fit(model, pruning, guard)
    assert model.sparsity == pytest.approx(0.6, abs=0.01)


def test_stop_ends_the_training_with_the_last_good_weights() -> None:
    pruning, guard = make("stop")
    model = Cliff()
    with pytest.warns(UserWarning, match="to reach sparsity"):
        trainer = fit(model, pruning, guard)
    assert trainer.current_epoch < 10
    assert model.sparsity == pytest.approx(0.5, abs=0.01)


def test_a_metric_that_recovers_in_time_changes_nothing() -> None:
    pruning, guard = make(patience=3)
    model = Cliff(recovers_after=2)
    fit(model, pruning, guard, epochs=40)
    assert model.sparsity == pytest.approx(0.9, abs=0.01)
    assert not any(decision.startswith("back") for decision in guard.decisions)


def test_the_last_epoch_is_judged_as_well() -> None:
    guard = AccuracyGuard("val/accuracy", 0.05)
    pruning = Pruning(0.8, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=3))
    model = Cliff()
    fit(model, pruning, guard, epochs=4)
    assert model.sparsity == 0.0


def test_of_the_same_sparsity_the_latest_good_weights_return() -> None:
    seen: list[Tensor] = []

    class Noting(L.Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(pl_module.layer.weight.detach().clone())

    guard = AccuracyGuard("val/accuracy", 0.05)
    pruning = Pruning(0.8, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=3))
    model = Cliff()
    fit(model, pruning, guard, Noting(), epochs=4)
    assert torch.equal(model.layer.weight, seen[-2])
    assert not torch.equal(seen[-2], seen[-3])


def test_less_can_be_better() -> None:
    class Loss(Cliff):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val/loss", 0.1 if self.sparsity <= 0.56 else 0.4)

    pruning, _ = make()
    guard = AccuracyGuard("val/loss", 0.05, mode="min", patience=1, min_step=0.02)
    model = Loss()
    fit(model, pruning, guard)
    assert 0.5 < model.sparsity <= 0.56


@RESUMED
@pytest.mark.parametrize("epoch", [3, 7, 9])
def test_resumed_is_uninterrupted(tmp_path: Any, epoch: int) -> None:
    whole, resumed = Cliff(), Cliff()
    pruning, guard = make()
    checkpoint = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    fit(whole, pruning, guard, checkpoint, enable_checkpointing=True)
    (path,) = tmp_path.glob(f"epoch={epoch}*.ckpt")
    again, guard_again = make()
    fit(resumed, again, guard_again, ckpt_path=path)
    assert torch.equal(whole.layer.weight, resumed.layer.weight)
    assert guard_again.decisions == guard.decisions


def test_nothing_to_guard_is_refused() -> None:
    with pytest.raises(ValueError, match="a `Pruning` callback of the name 'pruning'"):
        fit(Cliff(), AccuracyGuard("val/accuracy"))


def test_a_metric_that_is_not_logged_is_refused() -> None:
    pruning, _ = make()
    with pytest.raises(ValueError, match=r"but got 'val/f1'\. There are: val/accuracy"):
        fit(Cliff(), pruning, AccuracyGuard("val/f1"))


@pytest.mark.parametrize(
    "option",
    [{"max_drop": -1.0}, {"mode": "up"}, {"patience": 0}, {"action": "cry"}, {"min_step": 0.0}],
    ids=lambda option: next(iter(option)),
)
def test_wrong_arguments_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Expected `{next(iter(option))}` to be"):
        AccuracyGuard("val/accuracy", **option)


class Graded(Cliff):
    """Its metric is a function of the sparsity and of the epoch."""

    def __init__(self, metric: Callable[[float, int], float]) -> None:
        super().__init__()
        self.metric = metric

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/accuracy", self.metric(self.sparsity, self.current_epoch))


def test_a_metric_that_falls_slowly_stops_the_pruning_at_the_allowed_drop() -> None:
    pruning, guard = make()
    model = Graded(lambda sparsity, epoch: 0.9 - 0.1 * sparsity)
    fit(model, pruning, guard)
    assert 0.46 < model.sparsity <= 0.5
    assert guard.reference == pytest.approx(0.9)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_metric_that_improves_while_sparse_does_not_raise_the_reference(mode: Any) -> None:
    sign = 1 if mode == "max" else -1

    def metric(sparsity: float, epoch: int) -> float:
        return sign * (0.8 + 0.15 * (0 < sparsity < 0.4) - 0.04 * (sparsity > 0.4))

    pruning, guard = make(mode=mode)
    model = Graded(metric)
    fit(model, pruning, guard)
    assert guard.reference == pytest.approx(sign * 0.8)
    assert model.sparsity == pytest.approx(0.9, abs=0.01)
    assert guard.decisions == []


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_reference_is_the_best_value_before_anything_is_removed(mode: Any) -> None:
    sign = 1 if mode == "max" else -1
    dense = [0.6, 0.8, 0.78]
    pruning, guard = make(mode=mode)
    pruning = Pruning(0.5, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=3))
    fit(Graded(lambda _, epoch: sign * [*dense, 0.9][epoch]), pruning, guard, epochs=4)
    assert guard.reference == pytest.approx(sign * 0.8)


def test_without_an_allowed_drop_a_metric_that_stays_is_good() -> None:
    pruning, guard = make(max_drop=0.0)
    model = Graded(lambda sparsity, epoch: 0.75)
    fit(model, pruning, guard)
    assert model.sparsity == pytest.approx(0.9, abs=0.01)
    assert guard.decisions == []


@pytest.mark.filterwarnings("ignore:Expected `pruning` to reach sparsity")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="ends at once"),
        pytest.param({"val_check_interval": 1}, id="validates within an epoch"),
        pytest.param({"min_epochs": 15}, id="goes on to its least length"),
    ],
)
def test_after_a_stop_nothing_more_may_be_removed(options: dict[str, Any]) -> None:
    """Half way to what failed is 0.55, which the metric would allow."""
    pruning, guard = make("stop")
    model = Cliff()
    fit(model, pruning, guard, **options)
    assert guard.decisions[-1] == "back from sparsity 0.6000 to 0.5000"
    assert model.sparsity == pruning.progress.limit == 0.5


@pytest.mark.parametrize(("other", "sparsity"), [(0.9, 0.9), (0.3, 0.6)])
def test_ranks_judge_the_average_of_their_metrics(
    other: float, sparsity: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This rank sees 0.9 throughout; the other sees its own value beyond half of the weights."""
    model = Graded(lambda *_: 0.9)

    def reduce(strategy: Any, tensor: Any, *_: Any, **options: Any) -> Any:
        total = tensor + (0.9 if model.sparsity <= 0.5 else other)
        return total / 2 if options["reduce_op"] == "mean" else total

    pruning, guard = make("pause")
    monkeypatch.setattr(SingleDeviceStrategy, "reduce", reduce)
    fit(model, pruning, guard)
    assert guard.reference == pytest.approx(0.9)
    assert model.sparsity == pytest.approx(sparsity, abs=0.01)


class Shaky(Cliff):
    """Its first validation gives no number."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.current_epoch == 0:
            self.log("val/accuracy", float("nan"))
        else:
            super().validation_step(batch, batch_idx)


def test_what_is_no_number_is_no_reference() -> None:
    pruning, guard = make()
    fit(Shaky(most=1.0), pruning, guard)
    assert guard.reference == pytest.approx(0.9)
    assert guard.decisions[0] == "val/accuracy nan: no reference yet"
    assert pruning.pruner.sparsity == pytest.approx(0.9, abs=0.01)


def test_a_reference_that_comes_after_the_first_removal_is_told() -> None:
    pruning = Pruning(0.5, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=0))
    guard = AccuracyGuard("val/accuracy")
    with pytest.warns(UserWarning, match=r"but got the first at sparsity 0\.5000"):
        fit(Cliff(), pruning, guard, epochs=2)


@pytest.mark.parametrize("guard_first", [False, True])
def test_another_model_is_guarded_as_by_a_new_guard(guard_first: bool) -> None:
    mine, fresh = make(), make()
    fit(Cliff(most=0.9), *(mine[::-1] if guard_first else mine))
    for callbacks in (mine, fresh):
        fit(Cliff(most=0.3), *(callbacks[::-1] if guard_first else callbacks))
    assert mine[0].pruner.sparsity == fresh[0].pruner.sparsity <= 0.3
    assert mine[1].state_dict()["decisions"] == fresh[1].state_dict()["decisions"] != []


def test_the_same_model_is_guarded_on() -> None:
    callbacks, model = make(), Cliff()
    fit(model, *callbacks)
    decisions = callbacks[1].decisions
    fit(model, *callbacks)
    assert callbacks[1].decisions[: len(decisions)] == decisions
    assert model.sparsity <= 0.56
