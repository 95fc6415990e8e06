"""Asked and measured agree, or what is reachable is named."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from support.clocks import CountingClock, SteppingClock
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.errors import TargetError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.pruning.latency import prices, search

X = ExampleInputs((torch.randn(2, 3, 8, 8),))


class Net(nn.Module):
    """A plain stack of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 96, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(96, 32, 1),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> CountingClock:
    counting = CountingClock(fixed_ms=100.0)
    monkeypatch.setattr(search, "clock_of", lambda _: counting)
    monkeypatch.setattr(prices, "cached_times", lambda *_: {})  # priced by multiply-adds
    return counting


def pruned(**options: object) -> tuple[nn.Module, lp.PruningReport]:
    torch.manual_seed(0)
    model = Net()
    return model, lp.prune(model, X, criterion=lp.Magnitude(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("speedup", [1.5, 2.0, 3.0])
def test_asked_is_measured(clock: CountingClock, speedup: float) -> None:
    dense_ms = clock.ms(Net(), X)
    model, report = pruned(sparsity=1 - 1 / speedup, of="latency")
    lp.compact(model, X, latency=False)
    assert dense_ms / clock.ms(model, X) == pytest.approx(speedup, rel=0.02)
    assert report.speedup is not None
    assert report.speedup.ratio == pytest.approx(speedup, rel=0.02)
    assert report.sparsity == pytest.approx(1 - 1 / speedup, rel=0.05)


def test_milliseconds_asked_are_measured(clock: CountingClock) -> None:
    asked_ms = clock.ms(Net(), X) / 2.5
    model, _ = pruned(latency_ms=asked_ms)
    lp.compact(model, X, latency=False)
    assert clock.ms(model, X) == pytest.approx(asked_ms, rel=0.02)


def test_noise_is_measured_away(clock: CountingClock) -> None:
    dense_ms, clock.noise = clock.ms(Net(), X), 0.05
    model, _ = pruned(sparsity=0.5, of="latency")
    lp.compact(model, X, latency=False)
    assert dense_ms / clock.ms(model, X) == pytest.approx(2, rel=0.05)


def test_a_model_that_is_fast_enough_is_left_alone(clock: CountingClock) -> None:
    _, report = pruned(latency_ms=2 * clock.ms(Net(), X))
    assert report.sparsity == 0
    assert all(group.removed == 0 for group in report.groups)


@pytest.mark.usefixtures("clock")
def test_a_sparsity_out_of_reach_names_what_is_reachable() -> None:
    with pytest.raises(TargetError, match=r"`sparsity` to be at most 0\.\d+ of the latency") as e:
        pruned(sparsity=0.999, of="latency")
    reachable = float(str(e.value).split("at most ")[1].split()[0])
    pruned(sparsity=reachable, of="latency")


def test_milliseconds_out_of_reach_name_what_is_reachable(clock: CountingClock) -> None:
    with pytest.raises(TargetError, match=r"`latency_ms` to be at least 105 here, but got 90\.0"):
        pruned(latency_ms=90.0)
    assert clock.calls == 1


def test_the_model_is_only_masked(clock: CountingClock) -> None:
    model, _ = pruned(sparsity=0.5, of="latency")
    assert clock.ms(model, X) == clock.ms(Net(), X)
    assert [p.shape for p in model.parameters()] == [p.shape for p in Net().parameters()]


@pytest.mark.parametrize("granularity", [lp.Weight(), lp.Block(2, 2), lp.NM(2, 4)], ids=repr)
def test_units_that_stay_are_refused(granularity: lp.Granularity) -> None:
    with pytest.raises(ValueError, match="Expected `granularity` to remove whole channels"):
        pruned(sparsity=0.5, of="latency", granularity=granularity)


def test_one_of_both_must_be_asked_for() -> None:
    with pytest.raises(ValueError, match=r"Expected either `sparsity` or `latency_ms`.*got none"):
        pruned()
    with pytest.raises(ValueError, match=r"Expected either `sparsity` or `latency_ms`.*got 0.5"):
        pruned(sparsity=0.5, latency_ms=3.0)
    with pytest.raises(ValueError, match="Expected `latency_ms` to be a finite number greater"):
        pruned(latency_ms=0.0)


def test_criteria_of_many_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected `criterion` to choose in one round"):
        lp.prune(Net(), X, sparsity=0.5, of="latency", criterion=lp.SynFlow())


def stack() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)
    )


@pytest.mark.parametrize(("kind", "multiple"), [(CountingClock, 1), (SteppingClock, 8)])
def test_multiples_are_kept_where_they_are_faster(
    kind: type[CountingClock], multiple: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = kind(fixed_ms=0.1)
    monkeypatch.setattr(search, "clock_of", lambda _: counting)
    monkeypatch.setattr(prices, "cached_times", lambda *_: {})
    report = lp.prune(
        stack(), torch.randn(1, 8), sparsity=0.4, of="latency", criterion=lp.Magnitude()
    )
    assert all(group.kept % multiple == 0 for group in report.groups)
    assert any(group.kept % 8 for group in report.groups) == (multiple == 1)


@pytest.mark.parametrize("speedup", [1.7, 1.8])
def test_a_group_whose_step_is_too_large_stays_while_the_others_go_on(
    speedup: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "clock_of", lambda _: SteppingClock())
    monkeypatch.setattr(prices, "cached_times", lambda *_: {})
    torch.manual_seed(0)
    widths = [1024, 16, 256, 256, 8]  # eight of the sixteen are a tenth of the whole
    layers = [m for sizes in pairwise(widths) for m in (nn.Linear(*sizes), nn.ReLU())]
    model, x, sparsity = nn.Sequential(*layers), torch.randn(1, 1024), 1 - 1 / speedup
    report = lp.prune(model, x, sparsity=sparsity, of="latency", criterion=lp.Magnitude())
    assert report.speedup is not None
    assert report.speedup.ratio == pytest.approx(speedup, rel=0.03)
