"""What cannot be measured is said; nothing else is lost."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.compaction import measuring
from lightning_prune.measure.latency import Latency, Turns

X = torch.randn(2, 4)


def masked() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight[:5] = 0
        model[0].bias[:5] = 0
    return model


def raising(*args: Any, **kwargs: Any) -> Tensor:
    raise MemoryError("no room")


def test_multiply_adds_and_latency_are_in_the_report() -> None:
    report = lp.compact(masked(), X)
    assert report.macs_before == 2 * (4 * 8 + 8 * 3)
    assert report.macs_after == 2 * (4 * 3 + 3 * 3)
    assert report.speedup_interval is not None
    assert report.speedup == report.speedup_interval.ratio
    assert report.unmeasured == ()


@pytest.mark.parametrize(
    ("function", "said"), [("macs_by_shapes", "multiply-adds"), ("measure_in_turns", "the latency")]
)
def test_a_model_that_cannot_be_measured_is_compact_and_reported(
    function: str, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(measuring, function, raising)
    model = masked()
    with caplog.at_level(logging.WARNING):
        report = lp.compact(model, X)
    assert model[0].out_features == 3
    assert report.unmeasured == (f"{said}: no room",)
    assert f"not measured: {said}: no room" in str(report)
    assert said in caplog.text
    assert ("compaction/macs_after" in report.metrics()) == (function != "macs_by_shapes")
    assert ("compaction/speedup" in report.metrics()) == (function == "macs_by_shapes")


def test_an_interrupt_while_it_is_measured_restores_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "measure_in_turns", interrupt)
    model = masked()
    with pytest.raises(KeyboardInterrupt):
        lp.compact(model, X)
    assert model[0].out_features == 8


def test_what_is_frozen_is_named_unless_everything_is() -> None:
    model = masked()
    assert lp.compact(model, X, latency=False).frozen == ()
    model[2].requires_grad_(False)
    report = lp.compact(model, X, latency=False)
    assert (report.frozen, report.params_frozen) == (("2",), 3 * 3 + 3)
    assert lp.compact(model.requires_grad_(False), X, latency=False).frozen == ()


def test_a_model_that_is_not_faster_is_reported_with_a_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Turns((Latency(1, 1, 1, 1, "cpu", "float32", 1, 0.0),) * 2, np.ones((5, 2)))
    monkeypatch.setattr(measuring, "measure_in_turns", lambda *_: slow)
    monkeypatch.setattr(measuring, "find_cure", lambda *_: "prune more")
    assert lp.compact(masked(), X).cure == "prune more"
    monkeypatch.setattr(measuring, "find_cure", raising)
    assert lp.compact(masked(), X).cure == ""
