"""A table of wrong calls: each is refused in a sentence that names the argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp

NAN, INFINITY = float("nan"), float("inf")
NO_NUMBERS = (None, "1", [1], NAN, INFINITY, True)
NO_FLAGS = (None, 0, 1, "yes")
NO_NAMES = (None, "", 3, True)
NO_PATHS = (3, True, b"", ["small"], "", "no/such/folder/small", "small/")
NO_PATTERNS = ("head", [3], 3)
NO_MODELS = (None, "resnet18", nn.Linear, torch.zeros(2), {})
NO_INPUTS = (None, [], (), {}, "x", 3)

Wrong = Mapping[str, Sequence[Any]]


def integers(least: int) -> tuple[Any, ...]:
    return (*NO_NUMBERS, least - 1, least + 0.5)


def numbers(*wrong: float) -> tuple[Any, ...]:
    return (*NO_NUMBERS, *wrong)


def words(*wrong: Any) -> tuple[Any, ...]:
    return (None, "", "foo", 3, ["sum"], True, *wrong)


def no_objects(kind: type) -> tuple[Any, ...]:
    return (None, kind, kind.__name__, 3)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def loss(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch).square().mean()


def call_of(method: Any) -> lp.Call:
    return lp.Call(method)  # it takes its name by position only


X = torch.ones(2, 4)
UNITS: Wrong = {"reduce": words("SUM"), "normalize": words("sum")}
EVERY = integers(1)[1:]  # None says that it is chosen
RAMP: Wrong = {"start_epoch": integers(0), "end_epoch": integers(2), "every": EVERY}
RAMP_GIVEN = {"start_epoch": 2, "end_epoch": 4}
SHARE: Wrong = {"max_sparsity": numbers(0.0, -0.5, 1.5)}
WHAT: Wrong = {
    "sparsity": numbers(-0.1, 1.0, 50),
    "criterion": no_objects(lp.Gradient),
    "granularity": no_objects(lp.Channel),
    "allocation": no_objects(lp.Global),
    "of": words("speed"),
    "include": NO_PATTERNS,
    "exclude": (None, *NO_PATTERNS),
    "allow_unused": NO_FLAGS,
}
MEASURED: Wrong = {
    "warmup_runs": integers(0),
    "min_runs": integers(1),
    "max_seconds": numbers(0.0, -1.0),
}
ON_A_MODEL: Wrong = {"model": NO_MODELS, "example_inputs": NO_INPUTS}
HERE: Wrong = {
    **WHAT,
    **ON_A_MODEL,
    "include": (*NO_PATTERNS, ["no_such_layer"]),
    "exclude": (None, *NO_PATTERNS, ["no_such_layer"]),
}
NETS = {"model": net(), "example_inputs": X}
TRIED = {"candidates": [lp.Magnitude()]}
NO_CANDIDATES = (None, [], (), "Taylor", lp.Taylor(), [lp.Taylor], ["Taylor"], [None], {})
PRUNED = {**NETS, "sparsity": 0.5, "criterion": lp.Magnitude()}
LEARNED = {**NETS, "sparsity": 0.5, "batches": [X], "loss": loss}
MEASURES = {"model": net(), "data": X, "metric": loss, "example_inputs": X, "progress": False}

TABLE: list[tuple[Callable[..., Any], dict[str, Any], Wrong]] = [
    (lp.Random, {}, {"seed": (None, "a", [1], NAN, 0.5, True, 2**64, -(2**64))}),
    (lp.SynFlow, {}, {"iterations": integers(1)}),
    (lp.Magnitude, {}, {"p": words(0, 1.5, "1")}),
    (lp.ActivationRate, {}, {"threshold": numbers(-1.0)}),
    (lp.Taylor, {}, {"squared": NO_FLAGS}),
    (lp.Fisher, {}, {"obd": NO_FLAGS}),
    (lp.Auto, TRIED, {"candidates": NO_CANDIDATES, "seconds": numbers(0.0, -1.0)[1:]}),
    (
        lp.Candidate,
        {"criterion": lp.Taylor()},
        {
            "criterion": (*no_objects(lp.Taylor), lp.Auto([lp.Taylor()])),
            "allocation": no_objects(lp.Global)[1:],
        },
    ),
    (lp.Channel, {}, {**UNITS, "round_to": integers(1), "min_units": integers(1)}),
    (lp.Head, {}, {**UNITS, "min_units": integers(1)}),
    (lp.Expert, {}, {**UNITS, "min_units": integers(1)}),
    (lp.Block, {"rows": 2, "cols": 2}, {**UNITS, "rows": integers(1), "cols": integers(1)}),
    (lp.NM, {"n": 2, "m": 4}, {"n": integers(1), "m": integers(3)}),
    (lp.OneShot, {}, {"epoch": integers(0), "step": integers(0)}),
    (lp.OneShot, {"epoch": 1}, {"step": (1, "1")}),
    (lp.Linear, RAMP_GIVEN, {**RAMP, "start_step": (1,), "end_step": (1,)}),
    (lp.Linear, {"start_epoch": 1}, {"end_epoch": (None,), "start_step": (1,)}),
    (lp.Cubic, RAMP_GIVEN, RAMP),
    (lp.Cosine, {"start_step": 2, "end_step": 4}, {"start_step": integers(0), "end_step": (2, 1)}),
    (lp.Exponential, RAMP_GIVEN, RAMP),
    (lp.OneCycle, RAMP_GIVEN, RAMP),
    (lp.Regrow, RAMP_GIVEN, {**RAMP, "share": numbers(0.0, 1.0)}),
    (lp.DenseSparseDense, RAMP_GIVEN, {"start_epoch": integers(0), "end_epoch": integers(3)}),
    (
        lp.Iterative,
        {"rounds": 2, "start_epoch": 1, "recovery_epochs": 1},
        {"rounds": integers(1), "start_epoch": integers(0), "recovery_epochs": integers(1)},
    ),
    (
        lp.Steps,
        {},
        {
            "epochs": (
                *({}, [1], "1", 3, {1: 0.5}, {1: 1.0, 2: 0.5}, {1: -0.5, 2: 1.0}, {1: NAN}),
                *({-1: 1.0}, {"1": 1.0}, {1.5: 1.0}, {True: 1.0}, {1: True}, {1: "1"}, {1: None}),
            ),
            "steps": ({}, [1], {1: 0.5}, {1: None}),
        },
    ),
    *((kind, {}, SHARE) for kind in (lp.Global, lp.Uniform, lp.Isomorphic)),
    (lp.ErdosRenyi, {}, {**SHARE, "kernel": NO_FLAGS}),
    (
        lp.PerLayer,
        {},
        {
            **SHARE,
            "default": numbers(-0.1, 1.0),
            "sparsities": (None, 0.5, "head", ["head"], {3: 0.5}, {"a": 1.0}, {"a": "0.5"}),
        },
    ),
    (
        lp.PerLayer.from_sensitivity,
        {"report": lp.Sensitivity(1.0), "max_drop": 0.1},
        {"report": (None, {}, 3), "max_drop": numbers(-0.1), "higher_is_better": NO_FLAGS},
    ),
    (
        lp.GrowingL2,
        {"strength": 0.1},
        {
            "strength": numbers(0.0, -1.0),
            "every": integers(1),
            "ceiling": numbers(0.05),
            "refresh": integers(1),
        },
    ),
    (
        lp.Pruning,
        {"sparsity": 0.5, "compensation": lp.FoldMeans()},
        {"granularity": (lp.Weight(), lp.Layer()), "rewind": (lp.Rewinding(epoch=0),)},
    ),
    (lp.FoldMeans, {}, {"samples": integers(1)}),
    (lp.LeastSquares, {}, {"samples": integers(1), "ridge": numbers(0.0, -1.0)}),
    (
        lp.GroupLasso,
        {},
        {"strength": numbers(0.0), "growth": numbers(-1.0), "refresh": integers(1)},
    ),
    (lp.Rewinding, {}, {"epoch": integers(0), "step": (-1, 1.5, True)}),
    (
        lp.Rewinding,
        {"epoch": 1},
        {"step": (1,), "weights": (*NO_FLAGS, False), "learning_rate": NO_FLAGS},
    ),
    (
        lp.Pruning,
        {"sparsity": 0.5},
        {
            **WHAT,
            "schedule": no_objects(lp.Cubic),
            "rewind": (lp.Rewinding, 1, "epoch"),
            "regularization": (lp.GrowingL2, 0.1, "GrowingL2"),
            "compensation": (lp.LeastSquares, 0.1, "LeastSquares"),
            "renew_norms": NO_FLAGS,
            "calibration": (3,),
            "score_every": integers(1),
            "name": NO_NAMES,
            "restart_early_stopping": NO_FLAGS,
            "dry_run": NO_FLAGS,
            "untried_strategy": NO_FLAGS,
        },
    ),
    (lp.Pruning, {"sparsity": 0.5, "criterion": lp.Wanda()}, {"regularization": (lp.GrowingL2(),)}),
    (
        lp.Pruning,
        {"sparsity": 0.5, "rewind": lp.Rewinding(epoch=2)},
        {"schedule": (lp.OneShot(1),)},
    ),
    (
        lp.Pruning,
        {"sparsity": 0.5, "granularity": lp.Layer()},
        {
            "criterion": (lp.GeometricMedian(),),
            "allocation": (lp.Uniform(), lp.Global(max_sparsity=0.5)),
        },
    ),
    (
        lp.Pruning,
        {"sparsity": 0.5, "schedule": lp.Regrow(**RAMP_GIVEN)},
        {"granularity": (lp.Channel(), lp.NM())},
    ),
    (
        lp.Compaction,
        {},
        {
            "during": NO_FLAGS,
            "min_gain": numbers(0.0, 1.0),
            "path": (3, True, b"", ["small"]),
            "monitor": ("", 3, True),
            "mode": words("MIN"),
            "latency": NO_FLAGS,
            "allow_unused": NO_FLAGS,
            "untried_strategy": NO_FLAGS,
        },
    ),
    (
        lp.AccuracyGuard,
        {"monitor": "accuracy"},
        {
            "monitor": NO_NAMES,
            "max_drop": numbers(-0.1),
            "mode": words("MAX"),
            "patience": integers(1),
            "action": words("Stop"),
            "min_step": numbers(0.0, 1.0),
            "name": NO_NAMES,
        },
    ),
    (
        lp.Distillation,
        {},
        {
            "teacher": (None, "", "best.ckpt", 3, nn.Linear, {}),
            "temperature": numbers(0.0, -1.0),
            "weight": numbers(-0.1, 1.5, 0.0),
            "kind": words("KL"),
            "dim": (None, 0, 2, "1", True),
            "features": ("layer", 3, [3], [""], {"a": 0.0}, {"a": "1"}, {3: 1.0}),
            "module": ("", 3, True),
            "output": ("", 3, True),
            "start_epoch": integers(0),
            "untried_strategy": NO_FLAGS,
        },
    ),
    (lp.LatencyMonitor, {}, {**MEASURED, "every_n_epochs": integers(1)}),
    (lp.SparsityMonitor, {}, {"every_n_epochs": integers(1), "min_ndim": integers(0)}),
    (lp.SparsityMonitor, {}, {"include": NO_PATTERNS, "exclude": (None, *NO_PATTERNS)}),
    (lp.couple, NETS, {**ON_A_MODEL, "allow_unused": NO_FLAGS}),
    (lp.prune, PRUNED, HERE),
    (lp.plan, PRUNED, HERE),
    (
        lp.compare,
        {**NETS, **TRIED, "sparsity": 0.5, "held_out": [X], "loss": loss},
        {
            **{name: wrong for name, wrong in HERE.items() if name != "criterion"},
            "candidates": NO_CANDIDATES,
            "of": words("latency"),
            "held_out": (None, 3, []),
            "loss": (None, 3, "mse"),
            "metric": (3, "accuracy", loss),
            "higher_is_better": NO_FLAGS,
            "compensation": (lp.FoldMeans, 3),
            "renew_norms": NO_FLAGS,
            "seconds": numbers(0.0, -1.0)[1:],
        },
    ),
    (
        lp.Pruner,
        {**NETS, "sparsity": 0.5},
        {**HERE, "schedule": (*no_objects(lp.Cubic), lp.Linear(start=0.1, end=0.5))},
    ),
    (
        lp.prune,
        LEARNED,
        {
            "batches": (None, 3),
            "loss": (
                *(None, 3, "mse"),
                *(lambda model, batch: 1.0, lambda model, batch: None, lambda model, b: model(b)),
            ),
        },
    ),
    (lp.compact, NETS, {**ON_A_MODEL, "latency": NO_FLAGS, "allow_unused": NO_FLAGS}),
    (
        lp.save_compact,
        {"model": net(), "path": "small.safetensors"},
        {"model": NO_MODELS, "path": (None, *NO_PATHS), "report": (3, "report")},
    ),
    (
        lp.load_compact,
        {"model": net(), "path": __file__},
        {"model": NO_MODELS, "path": (None, 3, True, b"", ["small"], ".", __file__)},
    ),
    (lp.count_macs, NETS, ON_A_MODEL),
    (lp.measure_latency, NETS, {**ON_A_MODEL, **MEASURED}),
    (lp.measure_latency, NETS, {"batch_size": EVERY, "threads": EVERY, "backend": words("fast")}),
    (lp.measure_sparsity, {"model": net()}, {"model": NO_MODELS, "min_ndim": integers(0)}),
    (
        lp.sensitivity,
        MEASURES,
        {
            **ON_A_MODEL,
            "metric": (None, 3, "accuracy", lambda model, data: None, lambda model, data: X),
            "criterion": no_objects(lp.Magnitude),
            "granularity": no_objects(lp.Channel),
            "sparsities": (None, 0.5, "0.5", [], [1.0], [NAN], [True], ["0.5"]),
            "include": NO_PATTERNS,
            "exclude": (None, *NO_PATTERNS),
            "path": NO_PATHS,
            "progress": NO_FLAGS,
            "allow_unused": NO_FLAGS,
        },
    ),
    (
        lp.export_model,
        {**NETS, "path": "small", "formats": ["torch.export"]},
        {
            "model": NO_MODELS,
            "path": (None, *NO_PATHS),
            "formats": (None, [], "onnx", 3, ["tflite"], [3]),
            "latency": NO_FLAGS,
        },
    ),
    (
        lp.Export,
        {"path": "small", "formats": ["torch.export"]},
        {
            "path": (None, 3, True, b"", ["small"]),
            "formats": (None, [], "onnx", 3, ["tflite"], [3]),
            "calibration_batches": integers(1),
            "latency": NO_FLAGS,
        },
    ),
    (
        lp.Report,
        {},
        {
            "folder": (3, True, b"", ["small"]),
            "monitor": ("", 3, True),
            "title": NO_NAMES,
            "measure": NO_FLAGS,
            "batch_sizes": ([0], ["1"], [1.5]),
            "backends": (["fast"], [3], [None]),
        },
    ),
    (lp.write_report, {"folder": "run"}, {"folder": (None, 3, True, b"", ["small"])}),
    (lp.compactable, {}, {"kind": (None, "Net", 3, nn.Module)}),
    (call_of, {}, {"method": NO_NAMES}),
]


ROWS = [
    pytest.param(function, given, argument, values, id=f"{function.__name__}-{argument}")
    for function, given, wrong in TABLE
    for argument, values in wrong.items()
]


def message_of(function: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """What a wrong call raises; other errors than the two pass, and fail the test."""
    try:
        function(**arguments)
    except (ValueError, TypeError) as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize(("function", "given", "argument", "values"), ROWS)
def test_every_wrong_value_is_refused_in_a_sentence_that_names_the_argument(
    function: Callable[..., Any],
    given: dict[str, Any],
    argument: str,
    values: Sequence[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in values:
        message = message_of(function, {**given, argument: value})
        assert message.startswith("Expected "), value
        assert f"`{argument}" in message, value
        assert ", but got " in message, value
    assert not list(tmp_path.iterdir())


def test_the_table_is_long_and_names_every_public_function_and_class_with_arguments() -> None:
    assert sum(len(row.values[3]) for row in ROWS) > 900
    checked = {lp.Call, *(function for function, *others in TABLE)}
    without = "Lamp GeometricMedian BatchNormScale Snip Grasp Gradient Movement Wanda Weight"
    without += " BrainSurgeon"
    results = "CompactionReport Comparison Coupling ExportReport Latency PruningReport Sensitivity"
    results += " Sparsity"
    bases = "Layer Allocation Compensation Criterion Granularity Regularization Schedule Evidence"
    errors = "ExampleInputsError ExportError PruningError TargetError VerificationError"
    modules = "metrics recipes"
    exempt = {*f"{without} {results} {bases} {errors} {modules}".split()}
    assert {name for name in lp.__all__ if getattr(lp, name) not in checked} == exempt
