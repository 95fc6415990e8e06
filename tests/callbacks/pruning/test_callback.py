import copy
import pickle
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from support.fits import (
    BATCHES,
    OPTIMIZERS,
    Net,
    NotedScores,
    Watch,
    data,
    fit,
    make_trainer,
    zeros,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_prune.allocations import Uniform
from lightning_prune.callbacks.compaction import Compaction
from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Criterion, Gradient, Magnitude, Random, Taylor, Wanda
from lightning_prune.errors import ExampleInputsError, TargetError
from lightning_prune.granularities import Channel, Weight
from lightning_prune.modules.inputs import Call
from lightning_prune.schedules import Cubic, DenseSparseDense, Linear, OneShot, Regrow

# The run that goes on saves nothing any more; in mid-epoch, lightning warns that data may repeat.
RESUMED = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`", "ignore:You're resuming from a checkpoint that"
)


@pytest.mark.parametrize("granularity", [Weight(), Channel()], ids=str)
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS.keys() - {"Muon"}))
def test_dead_stays_dead(optimizer: str, granularity: Any) -> None:
    model = Net(optimizer)
    pruning = Pruning(0.5, granularity=granularity, schedule=Cubic(start_epoch=0, end_epoch=2))
    watch = Watch(pruning)
    trainer = fit(model, pruning, watch)
    assert watch.revived == 0
    assert pruning.pruner is not None
    masks = pruning.pruner.masks
    assert torch.equal(zeros(model, pruning), ~torch.cat([m.flatten() for m in masks.values()]))
    for name, mask in masks.items():
        for value in trainer.optimizers[0].state[model.get_parameter(name)].values():
            if isinstance(value, Tensor) and value.shape == mask.shape:
                assert (value[~mask] == 0).all()


@pytest.mark.parametrize("criterion", [Gradient(), Taylor(), Magnitude(), Random()], ids=str)
@pytest.mark.parametrize("of", ["parameters", "macs", "units"])
def test_asked_is_obtained(criterion: Any, of: Any) -> None:
    pruning = Pruning(0.4, criterion, of=of, allocation=Uniform())
    metrics = fit(Net(), pruning).callback_metrics
    assert pruning.report is not None
    assert pruning.report.sparsity == pytest.approx(0.4, abs=0.08)
    assert metrics["pruning/sparsity"].item() == pytest.approx(pruning.report.sparsity)
    assert metrics["pruning/target"].item() == pytest.approx(0.4)


def test_single_weights_are_counted_exactly() -> None:
    pruning = Pruning(0.5, granularity=Weight())
    model = Net()
    fit(model, pruning)
    prunable = 8 * 2 * 9 + 6 * 8 * 9 + 3 * 6
    assert int(zeros(model, pruning).sum()) == prunable // 2


def test_an_epoch_starts_with_its_update() -> None:
    pruning = Pruning(0.5, granularity=Weight(), schedule=Linear(start_epoch=1, end_epoch=3))
    watch = Watch(pruning)
    fit(Net(), pruning, watch)
    steps = [pytest.approx(f, abs=0.001) for f in (0, 0, 0.25, 0.5) for _ in range(BATCHES)]
    assert watch.seen == steps


def test_a_step_starts_with_its_update() -> None:
    schedule = Linear(start_step=2, end_step=6, every=2)
    pruning = Pruning(0.5, granularity=Weight(), schedule=schedule)
    watch = Watch(pruning)
    fit(Net(), pruning, watch, epochs=2)
    assert watch.seen == pytest.approx([0, 0, 0, 0, 0.25, 0.25, 0.5, 0.5], abs=0.001)


def test_steps_are_those_of_the_optimizer() -> None:
    pruning = Pruning(0.5, granularity=Weight(), schedule=OneShot(step=1))
    watch = Watch(pruning)
    fit(Net(), pruning, watch, epochs=1, accumulate_grad_batches=2)
    assert watch.seen == pytest.approx([0, 0, 0.5, 0.5], abs=0.001)


def test_steps_that_are_not_finite_do_not_count() -> None:
    pruning = Pruning(0.5, Taylor(), granularity=Weight())
    watch = Watch(pruning)
    fit(Net(bad_steps=(1, 2)), pruning, watch, epochs=2)
    assert watch.seen == pytest.approx([0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5], abs=0.001)


def test_an_update_without_a_finite_step_waits() -> None:
    pruning = Pruning(0.5, granularity=Weight())
    watch = Watch(pruning)
    with pytest.warns(UserWarning, match="Expected a finite gradient other than zero") as caught:
        fit(Net(bad_steps=(0, 1, 2, 3, 4)), pruning, watch, epochs=2)
    assert watch.seen == pytest.approx([0, 0, 0, 0, 0, 0, 0.5, 0.5], abs=0.001)
    assert sum("finite gradient" in str(w.message) for w in caught) == 1


def test_a_target_that_is_missed_is_named() -> None:
    class Stop(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
            trainer.should_stop = True

    pruning = Pruning(0.5, granularity=Weight(), schedule=OneShot(epoch=3))
    with pytest.warns(UserWarning, match=r"reach sparsity 0\.5 at epoch 3, but got 0\.0000"):
        fit(Net(), pruning, Stop())


def test_hooks_are_gone_after_an_exception() -> None:
    class Break(L.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise RuntimeError("broken")

    pruning = Pruning(0.5, granularity=Weight())
    trainer = make_trainer(pruning, Break())
    with pytest.raises(RuntimeError, match="broken"):
        trainer.fit(Net(), data())
    assert not trainer.optimizers[0]._optimizer_step_post_hooks


def test_hooks_are_gone_after_the_fit() -> None:
    trainer = fit(Net(), Pruning(0.5, granularity=Weight()))
    assert not trainer.optimizers[0]._optimizer_step_post_hooks


def test_a_checkpoint_is_masked_and_has_the_keys_of_the_model(tmp_path: Any) -> None:
    model, pruning = Net("momentum"), Pruning(0.5, granularity=Weight())
    save = ModelCheckpoint(tmp_path, filename="last", save_weights_only=True)
    fit(model, pruning, save, enable_checkpointing=True)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert list(state) == list(Net().state_dict())
    assert pruning.pruner is not None
    for name, mask in pruning.pruner.masks.items():
        assert (state[name][~mask] == 0).all()


@RESUMED
def test_a_test_with_a_checkpoint_leaves_the_next_fit_alone(tmp_path: Any) -> None:
    class Tested(Net):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])

    save = ModelCheckpoint(tmp_path, filename="last")
    fit(Tested(), Pruning(0.5, granularity=Weight()), save, enable_checkpointing=True)
    pruning = Pruning(0.5, granularity=Weight())
    trainer = make_trainer(pruning)
    model = Tested()
    trainer.test(model, data(), ckpt_path=tmp_path / "last.ckpt", verbose=False)
    assert pruning.state_dict()["done"] == 1
    watch = Watch(pruning)
    make_trainer(pruning, watch).fit(Net(), data())
    assert watch.seen[0] == 0.0


def test_a_second_fit_keeps_the_masks_of_the_same_model() -> None:
    model, pruning = Net("momentum"), Pruning(0.5, granularity=Weight())
    fit(model, pruning)
    dead = zeros(model, pruning)
    watch = Watch(pruning)
    fit(model, pruning, watch, epochs=2)
    assert torch.equal(zeros(model, pruning), dead)
    assert watch.seen[0] == pytest.approx(0.5, abs=0.001)


def test_a_second_fit_tells_that_the_model_is_compact_by_now() -> None:
    model, pruning = Net(), Pruning(0.5, Magnitude(), schedule=OneShot(epoch=1))
    model.example_input_array = torch.zeros(2, 2, 6, 6)
    fit(model, pruning, Compaction(latency=False))
    with pytest.warns(UserWarning, match="begins anew with a model that is compact"):
        fit(model, pruning)


def test_a_second_fit_starts_anew_with_another_model() -> None:
    pruning = Pruning(0.5, granularity=Weight())
    fit(Net(), pruning)
    watch = Watch(pruning)
    fit(Net(), pruning, watch)
    assert watch.seen[0] == 0.0
    assert watch.seen[-1] == pytest.approx(0.5, abs=0.001)


def test_two_callbacks_need_two_names() -> None:
    first = Pruning(0.5, granularity=Weight(), include=["body"], name="body")
    second = Pruning(0.25, Magnitude(), granularity=Weight(), include=["head"], name="head")
    metrics = fit(Net(), first, second).callback_metrics
    assert metrics["body/sparsity"].item() == pytest.approx(0.5, abs=0.001)
    assert metrics["head/sparsity"].item() == pytest.approx(0.25, abs=1 / 18)
    with pytest.raises(RuntimeError, match="state_key"):
        make_trainer(Pruning(0.5), Pruning(0.5))


def test_what_is_excluded_or_frozen_is_left_alone_with_a_reason() -> None:
    model = Net()
    model.body[0].requires_grad_(False)
    frozen = copy.deepcopy(model.body[0].state_dict())
    pruning = Pruning(0.5, granularity=Channel(), exclude=["head"])
    fit(model, pruning)
    assert torch.equal(model.body[0].weight, frozen["weight"])
    assert pruning.report is not None
    assert pruning.report.left_alone == {"body.0": "`body.0.weight` is frozen"}
    assert [g.name for g in pruning.report.groups] == ["body.3"]


class WithAuxiliary(Net):
    """A second head reads the first features; neither ``forward`` nor a step runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Conv2d(8, 2, 1)

    def loss(self, x: Tensor) -> Tensor:
        return self.aux(self.body[0](x)).square().mean()


def test_what_no_step_runs_may_read_is_left_alone_and_named_once(caplog: Any) -> None:
    pruning = Pruning(0.2, schedule=Linear(start_epoch=0, end_epoch=2))
    fit(WithAuxiliary(), pruning)
    assert pruning.report is not None
    assert pruning.report.unused == ("aux.weight", "aux.bias")
    assert "may read it" in pruning.report.left_alone["body.0"]
    assert [group.name for group in pruning.report.groups] == ["body.3"]
    [warning] = [r.getMessage() for r in caplog.records if "do not run" in r.getMessage()]
    assert "do not run aux. " in warning


def test_a_call_of_what_no_step_runs_prunes_that_too(caplog: Any) -> None:
    x = torch.randn(2, 2, 6, 6)
    model = WithAuxiliary()
    examples = [x, Call("loss", x)]
    pruning = Pruning(0.5, example_inputs=examples)
    fit(model, pruning)
    assert pruning.report is not None
    assert pruning.report.unused == ()
    assert (model.aux.weight == 0).all(0).any()
    assert not [r for r in caplog.records if "do not run" in r.getMessage()]


def test_several_optimizers_score_their_own_parameters() -> None:
    class Gan(Net):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self(batch[0]).square().mean())
                optimizer.step()

        def configure_optimizers(self) -> Any:
            body = torch.optim.SGD(self.body.parameters(), lr=0.01, momentum=0.9)
            return [body, torch.optim.Adam(self.head.parameters())]

    pruning = Pruning(0.5, granularity=Weight())
    watch = Watch(pruning)
    fit(Gan(), pruning, watch, epochs=2)
    assert watch.revived == 0
    assert watch.seen[-1] == pytest.approx(0.5, abs=0.001)


class TakingTurns(Net):
    """The body steps on two batches, then only the head, while the body's gradients stay."""

    def __init__(self, *, clears: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.clears = clears

    def training_step(self, batch: Any, batch_idx: int) -> None:
        body, head = self.optimizers()
        for optimizer in (body, head):
            optimizer.zero_grad()
        self.manual_backward(self(batch[0]).square().mean())
        if batch_idx < BATCHES // 2:
            body.step()
        elif self.clears:
            body.zero_grad()
        head.step()

    def configure_optimizers(self) -> Any:
        body = torch.optim.SGD(self.body.parameters(), lr=0.01)
        return [body, torch.optim.SGD(self.head.parameters(), lr=0.01)]


@pytest.mark.parametrize("criterion", [Gradient(), Taylor()], ids=str)
def test_gradients_of_parameters_that_another_optimizer_steps_on_do_not_count(
    criterion: Criterion,
) -> None:
    scores = []
    for clears in (True, False):
        pruning = Pruning(0.5, criterion, granularity=Weight(), schedule=OneShot(epoch=1))
        noted = NotedScores(pruning)
        fit(TakingTurns(clears=clears), pruning, noted, epochs=2)
        scores.append(noted.first)
    assert scores[0].any()
    assert torch.equal(*scores)


def test_averaged_weights_are_masked_again() -> None:
    model, pruning = Net(), Pruning(0.5, granularity=Weight())
    averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")
    fit(model, pruning, averaging.WeightAveraging())
    assert pruning.pruner is not None
    for name, mask in pruning.pruner.masks.items():
        assert (model.get_parameter(name)[~mask] == 0).all()


def test_a_compiled_module_is_pruned_by_its_plain_names() -> None:
    model = Net()
    model.body = torch.compile(model.body, backend="eager")
    pruning = Pruning(0.5, granularity=Weight(), include=["body.3"])
    fit(model, pruning)
    assert pruning.report is not None
    assert [g.name for g in pruning.report.groups] == ["body.3.weight"]
    assert (
        model.get_parameter("body._orig_mod.3.weight") == 0
    ).float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_a_trial_run_checks_no_bounds() -> None:
    pruning = Pruning(0.5, schedule=OneShot(epoch=30))
    make_trainer(pruning, fast_dev_run=True).fit(Net(), data())
    assert pruning.report is None


@pytest.mark.parametrize(
    ("options", "trainer", "error", "message"),
    [
        pytest.param(
            {"schedule": OneShot(epoch=4)},
            {"epochs": 4},
            ValueError,
            r"end at epoch 3 or earlier, as max_epochs is 4, but got OneShot\(epoch=4",
            id="epochs",
        ),
        pytest.param(
            {"schedule": OneShot(step=9)},
            {"epochs": 4, "max_steps": 9},
            ValueError,
            "end at step 8 or earlier, as max_steps is 9",
            id="max_steps",
        ),
        pytest.param(
            {"schedule": OneShot(step=16)},
            {"epochs": 4},
            ValueError,
            "end at step 15 or earlier, as the number of optimizer steps is 16",
            id="steps",
        ),
        pytest.param(
            {"schedule": OneShot(epoch=0)}, {}, ValueError, "no gradients have been", id="start"
        ),
        pytest.param({"include": ["tail"]}, {}, ValueError, "Expected `include`", id="include"),
        pytest.param({"exclude": ["haed"]}, {}, ValueError, "Did you mean head", id="exclude"),
        pytest.param({"exclude": ["*"]}, {}, TargetError, "is excluded", id="nothing left"),
        pytest.param({"sparsity": 0.999}, {}, TargetError, r"at most 0\.99", id="reach"),
    ],
)
def test_what_cannot_work_is_refused(
    options: dict[str, Any], trainer: dict[str, Any], error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(Net(), Pruning(**{"sparsity": 0.5, "granularity": Weight(), **options}), **trainer)


def test_a_frozen_model_is_refused() -> None:
    with pytest.raises(TargetError, match="to have trainable parameters"):
        fit(Net().requires_grad_(False), Pruning(0.5))


def test_channels_need_inputs() -> None:
    class Bare(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step((batch["x"], batch["y"]), batch_idx)

    rows = [{"x": x, "y": y} for x, y in data().dataset]
    loader = DataLoader(rows, batch_size=4, collate_fn=lambda b: _Opaque(b))
    with (
        pytest.warns(UserWarning, match="training step of Bare .* KeyError"),
        pytest.raises(ExampleInputsError, match="Expected `example_inputs`"),
    ):
        make_trainer(Pruning(0.5)).fit(Bare(), loader)


class _Opaque(dict[str, Tensor]):
    """A batch in which no input can be found by position."""

    def __init__(self, rows: Any) -> None:
        super().__init__()


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 50])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match="Expected `sparsity` to be a fraction"):
        Pruning(sparsity)


@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_a_single_pattern_is_refused(argument: str) -> None:
    with pytest.raises(TypeError, match=f"Expected `{argument}` to be a list"):
        Pruning(0.5, **{argument: "head"})


def test_dense_sparse_dense_ends_dense():
    pruning = Pruning(
        0.5,
        Magnitude(),
        granularity=Weight(),
        schedule=DenseSparseDense(start_epoch=1, end_epoch=3),
    )
    watch, model = Watch(pruning), Net()
    fit(model, pruning, watch)
    assert watch.seen == pytest.approx([0.0] * 4 + [0.5] * 8 + [0.0] * 4, abs=0.01)
    assert (model.head.weight != 0).all()


def test_regrowth_moves_the_zeros_at_constant_sparsity():
    pruning = Pruning(
        0.5, Magnitude(), granularity=Weight(), schedule=Regrow(start_epoch=1, end_epoch=3)
    )
    masks = []

    class Note(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            masks.append(torch.cat(pruning.pruner.masks.kept))

    watch = Watch(pruning)
    fit(Net("Adam"), pruning, watch, Note())
    assert watch.seen == pytest.approx([0.0] * 4 + [0.5] * 12, abs=0.01)
    assert watch.revived == 0
    assert not torch.equal(masks[1], masks[2])
    assert torch.equal(masks[2], masks[3])


@pytest.mark.parametrize("criterion", [Magnitude(), Gradient()], ids=repr)
def test_a_dry_run_tells_what_would_go_and_removes_nothing(capsys: Any, criterion: Any) -> None:
    dry, plain = Net(), Net()
    pruning = Pruning(0.5, criterion, schedule=OneShot(epoch=2), dry_run=True)
    fit(dry, pruning)
    fit(plain)
    pairs = zip(dry.state_dict().values(), plain.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert pruning.report is not None
    printed = capsys.readouterr().out
    assert printed.count(f"pruning, dry run; nothing is removed:\n{pruning.report}") == 1


def test_a_dry_run_tells_what_an_update_reaches() -> None:
    reports = []
    for dry_run in (True, False):
        pruning = Pruning(0.5, Magnitude(), schedule=OneShot(epoch=0), dry_run=dry_run)
        fit(Net(), pruning, epochs=1)
        reports.append(pruning.report)
    assert reports[0] == reports[1]


def test_the_progress_bar_shows_the_sparsity() -> None:
    shown = []

    class Bar(TQDMProgressBar):
        def get_metrics(self, *args: Any) -> dict[str, Any]:
            shown.append(super().get_metrics(*args))
            return shown[-1]

    pruning = Pruning(0.5, Magnitude(), schedule=OneShot(epoch=0))
    fit(Net(), pruning, Bar(), epochs=2, enable_progress_bar=True)
    assert shown[-1]["pruning/sparsity"] == pytest.approx(pruning.report.sparsity, abs=1e-3)


class HooksSeen(L.Callback):
    """Notes whether modules have hooks, in every batch."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.seen.append(any(module._forward_pre_hooks for module in pl_module.modules()))


def test_nothing_is_observed_after_the_last_update() -> None:
    hooks = HooksSeen()
    fit(Net(), Pruning(0.5, Wanda(), schedule=OneShot(epoch=1)), hooks)
    assert hooks.seen[:BATCHES] == [True] * BATCHES
    assert not any(hooks.seen[BATCHES:])


@pytest.mark.parametrize("criterion", [Gradient(), Wanda()], ids=str)
def test_what_has_pruned_can_be_pickled(criterion: Criterion) -> None:
    model, pruning = Net(), Pruning(0.5, criterion, schedule=OneShot(epoch=1))
    fit(model, pruning, Compaction(during=True, latency=False))
    model.trainer = None
    assert pickle.loads(pickle.dumps(model)).state_dict().keys() == model.state_dict().keys()
    assert pickle.loads(pickle.dumps(pruning)).pruner.sparsity == pruning.pruner.sparsity
    copied = copy.deepcopy(pruning).pruner
    assert copied._chooser.scorer._remaining() is copied.masks.remaining
