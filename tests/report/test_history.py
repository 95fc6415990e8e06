"""A history holds what was logged, once, at the step at which it was logged."""

import json

import torch

from lightning_prune.report.content import Trade, Update
from lightning_prune.report.history import History


def make() -> History:
    history = History()
    for step, accuracy in ((10, 0.5), (20, 0.75)):
        history.note(step, {"val/acc": torch.tensor(accuracy), "val/loss": 1.0}, validation=True)
        metrics = {"val/acc": 9.0, "pruning/sparsity": 0.25, "latency/p50_ms": 4.0}
        history.note(step, metrics | {"sparsity/w": 0.5, "train/loss": 2.0}, validation=False)
        history.epochs.append(step)
    history.updates.append(Update("pruning", 10, 1, 0.5, 0.4))
    return history


def test_what_a_validation_logged_is_kept_as_it_was():
    series = {one.key: one for one in make().series(None, ["pruning"])}
    assert series["val/acc"].steps == (10, 20)
    assert series["val/acc"].values == (0.5, 0.75)


def test_metrics_are_told_apart():
    kinds = {one.key: one.kind for one in make().series(None, ["pruning"])}
    assert kinds == {
        "val/acc": "accuracy",
        "val/loss": "other",
        "pruning/sparsity": "sparsity",
        "latency/p50_ms": "latency",
        "train/loss": "other",
    }


def test_a_loss_tells_how_good_a_model_is_where_nothing_else_does_or_it_is_asked_for():
    history = History()
    history.note(1, {"val/loss": 1.0}, validation=True)
    assert history.series(None, [])[0].kind == "accuracy"
    assert [one.key for one in make().series("val/loss", []) if one.kind == "accuracy"] == [
        "val/loss"
    ]


def test_accuracy_against_latency_is_known_where_both_were_logged():
    history = make()
    history.note(30, {"val/acc": 1.0}, validation=True)
    assert history.trades(None) == (Trade(10, 4.0, 0.5), Trade(20, 4.0, 0.75))
    history.note(10, {"latency/compact_p50_ms": 2.0}, validation=False)
    assert history.trades("val/acc") == (Trade(10, 2.0, 0.5),)
    assert history.trades("other") == ()


def test_long_histories_are_thinned():
    history = History()
    for step in range(5000):
        history.note(step, {"a": step}, validation=False)
    (series,) = history.series(None, [])
    assert len(series.steps) == 1000
    assert series.values == tuple(map(float, series.steps))


def test_a_history_goes_through_a_checkpoint():
    history = History()
    history.load_state_dict(json.loads(json.dumps(make().state_dict()), object_hook=_keys))
    assert history.state_dict() == make().state_dict()
    assert history.series(None, []) == make().series(None, [])


def _keys(found: dict[str, object]) -> dict[object, object]:
    return {int(key) if key.isdigit() else key: value for key, value in found.items()}
