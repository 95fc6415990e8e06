"""A report says what reports say, and what is measured of the models."""

import copy

import pytest
import torch
from support.reports import full_report
from torch import nn

from lightning_prune.allocations import Global
from lightning_prune.compaction import compact
from lightning_prune.criteria import Magnitude
from lightning_prune.export.report import Exported, ExportReport
from lightning_prune.measure import count_macs, count_parameters
from lightning_prune.pruning import Comparison, PruningReport, prune
from lightning_prune.pruning.comparing.comparison import Tried
from lightning_prune.report.build import Sources, build_report, missing
from lightning_prune.report.content import Reason, RunReport, Width

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def pruned():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    pruning = prune(model, X, sparsity=0.5, criterion=Magnitude())
    before = copy.deepcopy(model)
    compaction = compact(model, X)
    sources = Sources(before, model, X, pruning, compaction, batch_sizes=[1, 2])
    return sources, build_report("title", sources)


def test_what_was_asked_and_reached(pruned):
    sources, report = pruned
    (goal,) = report.goals
    assert (goal.asked, goal.of, goal.reached) == (0.5, "parameters", sources.pruning.sparsity)
    assert report.widths == (Width("0", 8, 4),)


def test_what_compaction_changed(pruned):
    sources, report = pruned
    found = {change.what: (change.before, change.after, change.ratio) for change in report.changes}
    before, after = (count_parameters(model) for model in (sources.before, sources.after))
    assert found["parameters"] == (before, after, before / after)
    assert found.keys() == {"parameters", "MACs", "bytes", "latency p50"}


def test_layers_add_up_to_the_model(pruned):
    sources, report = pruned
    assert sum(layer.params_before for layer in report.layers) == count_parameters(sources.before)
    assert sum(layer.macs_before or 0 for layer in report.layers) == count_macs(sources.before, X)
    assert sum(layer.macs_after or 0 for layer in report.layers) == count_macs(sources.after, X)
    assert all(layer.ms_after is not None for layer in report.layers)


def test_every_batch_is_measured_before_and_after(pruned):
    _, report = pruned
    rows = [(timing.what, timing.batch_size) for timing in report.timings]
    assert rows[-4:] == [("full size", 1), ("compact", 1), ("full size", 2), ("compact", 2)]
    compact_ = report.timings[-1]
    assert compact_.low <= compact_.speedup <= compact_.high


def test_outputs_are_named_as_frozen(pruned):
    _, report = pruned
    assert any(reason.name == "2.weight[0]" for reason in report.reasons)


def test_what_could_not_be_exported_is_named():
    rows = {
        "torch": Exported(None, p50_ms=2.0, p95_ms=3.0),
        "onnx": Exported("x.onnx", problem="no such operation"),
    }
    report = build_report("", Sources(export=ExportReport(rows, 4, dynamic_batch=True, threads=2)))
    assert [(t.backend, t.batch_size, t.p50_ms) for t in report.timings] == [("torch", 4, 2.0)]
    assert report.reasons == (Reason("not exported", "onnx", "no such operation"),)


def test_a_model_that_does_not_run_is_reported_without_measurements():
    report = build_report("", Sources(nn.Linear(3, 2), example_inputs=torch.ones(1, 7)))
    assert [layer.params_before for layer in report.layers] == [3 * 2 + 2]
    assert [text.partition(":")[0] for text in report.unmeasured] == [
        "multiply-adds by layer",
        "milliseconds by layer",
        "latency by eager at batch 1",
        "what is frozen",
    ]


def test_without_inputs_nothing_is_measured():
    report = build_report("", Sources(nn.Linear(3, 2)))
    assert report.unmeasured == ("layers and latency: there are no example inputs",)
    assert report.layers[0].macs_before is None


def test_what_is_missing_is_said():
    assert [what.partition(":")[0] for what in missing(RunReport())] == [
        "what was asked and reached",
        "the model before and after",
        "layers",
        "latency",
        "scores",
        "metrics over the training",
        "accuracy against latency",
    ]
    report = build_report("", Sources(nn.Linear(3, 2), example_inputs=torch.ones(1, 3)))
    assert len(missing(report)) == 5
    assert missing(full_report()) == ()


def test_candidates_are_told_with_their_values():
    comparison = Comparison((Tried(Magnitude(), Global(), 0.5, 1.0),), 0.25)
    pruning = PruningReport(0.5, 0.5, "parameters", (), comparison=comparison)
    (goal,) = build_report("", Sources(pruning=pruning)).goals
    assert goal.options == {"candidates": comparison.line()}
