"""The report says what went, what it brought, and what did not go."""

import pytest

from lightning_prune.compaction.report import CompactionReport
from lightning_prune.measure import Latency, Speedup
from lightning_prune.units.group import GroupCount


def latency(p50_ms: float) -> Latency:
    return Latency(
        p50_ms=p50_ms,
        p95_ms=2 * p50_ms,
        runs=10,
        batch_size=4,
        device="cpu",
        dtype="float32",
        threads=2,
        measuring_s=0.1,
    )


def report(**changes) -> CompactionReport:
    values = {
        "params_before": 4000,
        "params_after": 1000,
        "macs_before": 60_000,
        "macs_after": 20_000,
        "bytes_before": 16_000,
        "bytes_after": 4000,
        "max_abs_error": 2e-7,
        "max_rel_error": 1e-7,
        "groups": (GroupCount("a", 8, 3), GroupCount("b", 4, 2)),
    }
    return CompactionReport(**(values | changes))


TIMED = {"latency_before": latency(6.0), "latency_after": latency(2.0)}


def test_it_prints_a_table_with_ratios():
    lines = [line.split("  ") for line in str(report()).splitlines()]
    table = {cells[0]: [c.strip() for c in cells[1:] if c.strip()] for cells in lines}
    assert table["parameters"] == ["4.00 k", "1.00 k", "4.00x"]
    assert table["MACs"] == ["60.0 k", "20.0 k", "3.00x"]
    assert table["bytes"] == ["16.0 kB", "4.00 kB", "4.00x"]


def test_it_counts_units_and_groups():
    assert report().removed == 3 + 2
    assert "5 of 12 units removed in 2 groups" in str(report())


def test_the_speed_up_is_the_ratio_of_medians():
    assert report(**TIMED).speedup == 6.0 / 2.0
    assert report().speedup is None


def test_latency_is_printed_with_its_circumstances():
    text = str(report(**TIMED))
    assert "latency p50" in text
    assert "at batch 4 on cpu, float32, threads: 2" in text
    assert "latency" not in str(report())


def test_what_is_not_faster_is_called_so():
    assert "NOT FASTER: speed-up 1.00" in str(
        report(latency_before=latency(2.0), latency_after=latency(2.0))
    )
    assert "NOT FASTER" not in str(report(**TIMED))


def test_the_speed_up_is_printed_with_its_interval():
    timed = report(**TIMED, speedup_interval=Speedup(3.0, 2.9, 3.1))
    assert "speed-up 3.00 (2.90-3.10), measured in turns" in str(timed)


def test_what_the_noise_explains_is_not_faster():
    timed = report(**TIMED, speedup_interval=Speedup(3.0, 0.9, 5.1), cure="prune more")
    assert not timed.is_faster
    assert "NOT FASTER: speed-up 3.00 (0.90-5.10), measured in turns; prune more" in str(timed)
    assert report(**TIMED).is_faster


def test_nothing_removed_is_said_aloud():
    assert "NOTHING WAS REMOVED" in str(report(groups=(GroupCount("a", 8, 0),)))
    assert "NOTHING WAS REMOVED" not in str(report())


def test_what_was_refused_is_printed_with_the_reason():
    assert "left as it was: b: shape '[2, 64]' is invalid" in str(
        report(refused={"b": "shape '[2, 64]' is invalid"})
    )


def test_what_was_compared_is_printed_and_what_was_not():
    text = str(report(tried=("float32", "train mode"), untried=("float64: no room", "masks: no")))
    assert "compared: float32; train mode" in text
    assert "not compared: float64: no room\nnot compared: masks: no" in text


def test_metrics_have_their_keys():
    assert report(**TIMED).metrics() == {
        "compaction/params_before": 4000,
        "compaction/params_after": 1000,
        "compaction/macs_before": 60_000,
        "compaction/macs_after": 20_000,
        "compaction/bytes_before": 16_000,
        "compaction/bytes_after": 4000,
        "compaction/max_abs_error": 2e-7,
        "compaction/max_rel_error": 1e-7,
        "compaction/latency_before_p50_ms": 6.0,
        "compaction/latency_before_p95_ms": 12.0,
        "compaction/latency_after_p50_ms": 2.0,
        "compaction/latency_after_p95_ms": 4.0,
        "compaction/speedup": 3.0,
    }


def test_metrics_without_latency_have_no_latency():
    assert not [key for key in report().metrics() if "latency" in key or "speedup" in key]


def test_a_report_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot assign"):
        report().params_after = 0


def test_frozen_parameters_are_said_to_count():
    text = str(report(frozen=("teacher", "embedding"), params_frozen=12_300))
    assert "12.3 k of the parameters are frozen, and counted as well: teacher, embedding" in text
    assert "frozen" not in str(report())


def test_it_draws_the_units_of_every_group():
    axes = report().plot()
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert widths == [[8, 4], [8 - 3, 4 - 2]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
