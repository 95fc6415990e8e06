from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.fits import Net, Validated, data, fit, make_trainer
from torch import nn

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.granularities import Weight
from lightning_prune.pruning.state import check_resumable, options_of
from lightning_prune.schedules import Linear

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")


def test_lists_and_tuples_of_patterns_are_the_same_option() -> None:
    a, b = Pruning(0.5, exclude=["head"]), Pruning(0.5, exclude=("head",))
    assert options_of(a.recipe, a.schedule) == options_of(b.recipe, b.schedule)


def test_a_state_of_another_version_is_refused() -> None:
    pruning = Pruning(0.5)
    with pytest.raises(ValueError, match="of version 1, but got 7"):
        check_resumable("pruning", pruning.state_dict() | {"version": 7}, {})


def test_an_option_that_the_state_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="the checkpoint, of=None, but got of='units'"):
        check_resumable("pruning", {"version": 1, "options": {}}, {"of": "'units'"})


def wider(model: Net) -> None:
    model.body[3], model.head = nn.Conv2d(8, 7, 3), nn.Linear(7, 3)


def renamed(model: Net) -> None:
    model.top = model.head
    model.forward = lambda x: model.top(model.body(x).mean((2, 3)))
    del model.head


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save = ModelCheckpoint(folder, filename="x", every_n_epochs=2)
    fit(Net(), Pruning(0.5, granularity=Weight()), save, enable_checkpointing=True)
    return folder / "x.ckpt"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"schedule": Linear(start_epoch=0, end_epoch=2)},
            r"the checkpoint, schedule=OneShot\(epoch=1.*, but got schedule=Linear\(start_epoch=0",
            id="schedule",
        ),
        pytest.param({"sparsity": 0.4}, r"sparsity=0\.5, but got sparsity=0\.4", id="sparsity"),
        pytest.param({"exclude": ["head"]}, r"exclude=\['head'\]", id="patterns"),
    ],
)
def test_a_run_with_other_options_is_refused(
    options: dict[str, Any], message: str, checkpoint: Path
) -> None:
    pruning = Pruning(**{"sparsity": 0.5, "granularity": Weight(), **options})
    with pytest.raises(ValueError, match=message):
        make_trainer(pruning, epochs=6).fit(Net(), data(), ckpt_path=checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(wider, "body.3.weight with 432 units instead of 504", id="sizes"),
        pytest.param(renamed, "none of the name 'head.weight'", id="names"),
    ],
)
def test_another_model_is_refused(change: Any, message: str, checkpoint: Path) -> None:
    model = Net()
    change(model)
    model.strict_loading = False
    model.on_load_checkpoint = lambda checkpoint: checkpoint["state_dict"].clear()
    with pytest.raises(ValueError, match=message):
        make_trainer(Pruning(0.5, granularity=Weight()), epochs=6).fit(
            model, data(), ckpt_path=checkpoint
        )


def test_a_test_runs_the_weights_of_a_checkpoint_of_other_options(checkpoint: Path) -> None:
    model, pruning = Validated(), Pruning(0.9)
    (result,) = make_trainer(pruning).test(model, data(), ckpt_path=checkpoint, verbose=False)
    held = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(value, held[name]) for name, value in model.state_dict().items())
    assert pruning.pruner is None
    expected = Validated().eval()
    expected.load_state_dict(held)
    losses = [nn.functional.cross_entropy(expected(x), y).item() for x, y in data()]
    assert result["test_loss"] == pytest.approx(sum(losses) / len(losses))


def test_the_state_is_small_and_plain(checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["callbacks"]["Pruning(pruning)"]
    units = 8 * 2 * 9 + 6 * 8 * 9 + 3 * 6
    assert sum(kept.numel() for kept in state["pruner"]["kept"]) == pytest.approx(units / 8, abs=2)
    assert state["pruner"]["scores"] == [None]  # nothing is scored after the last update
