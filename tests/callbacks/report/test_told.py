"""What the other callbacks tell is read from their public attributes, whatever their class."""

from types import SimpleNamespace
from typing import Any

import torch

from lightning_prune.callbacks import Pruning
from lightning_prune.callbacks.report.told import last_of, prunings_of, with_run
from lightning_prune.measure import Latency
from lightning_prune.report.content import Reason, RunReport
from lightning_prune.report.history import History

LATENCY = Latency(2.0, 3.0, 10, 4, "cpu", "float32", 2, 0.1)


def told(*callbacks: Any) -> RunReport:
    return with_run(RunReport(), callbacks, History(), None)


def test_what_was_asked_is_told_before_anything_is_reached() -> None:
    (goal,) = told(Pruning(0.5, exclude=["head"], name="half")).goals
    assert (goal.name, goal.of, goal.asked, goal.reached) == ("half", "parameters", 0.5, None)
    assert goal.options["exclude"] == "head"
    assert goal.options["schedule"] == "OneShot(epoch=1)"
    assert "include" not in goal.options


def test_a_latency_asked_for_is_told_in_place_of_a_sparsity() -> None:
    (goal,) = told(Pruning(latency_ms=2.5)).goals
    assert goal.asked is None
    assert goal.options["latency asked"] == "2.5 ms"


def test_latencies_of_a_monitor_are_told() -> None:
    monitor = SimpleNamespace(latency=LATENCY, compact_latency=LATENCY)
    switch = SimpleNamespace(latency=True)  # of `Compaction`: an option
    timings = told(switch, monitor).timings
    assert [timing.what for timing in timings] == ["in fit", "in fit, compact"]
    assert timings[0].p95_ms == 3.0


def test_decisions_are_told() -> None:
    guard = SimpleNamespace(name="pruning", decisions=["pause", "back"])
    assert told(guard).reasons == (
        Reason("guard", "pruning", "pause"),
        Reason("guard", "pruning", "back"),
    )


def test_only_what_prunes_is_a_pruning() -> None:
    pruning = Pruning(0.5)
    assert list(prunings_of([SimpleNamespace(name="other", report=None), pruning])) == [pruning]


def test_the_last_report_of_a_kind() -> None:
    assert last_of([None, 1, 2, "text"], int) == 2
    assert last_of([None, torch.ones(1)], int) is None
