"""A smaller model is followed also where operations are left out that have nothing to do."""

import re

import torch
from support.nets import Net
from support.oracle import half_of_every_group, randomize, zeroed
from torch import Tensor, nn

from lightning_prune.compaction import compact
from lightning_prune.compaction.plan import plan_removal
from lightning_prune.compaction.repair.follow import Followed, follow
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.coupling import couple
from lightning_prune.coupling.forecast import Trace


def refused(model: nn.Module, x: Tensor) -> dict[str, str]:
    model = randomize(model)
    groups = couple(model, x).groups
    masked = zeroed(model, groups, half_of_every_group(groups), ["out in"] * len(groups))
    report = compact(masked, x, latency=False)
    assert report.removed
    return dict(report.refused)


class Turned(nn.Module):
    """Halves change places, like those of a query that is rotated."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 12)
        self.last = nn.Linear(12, 2)

    def turn(self, x: Tensor) -> Tensor:
        return torch.cat([-x[..., 6:], x[..., :6]], -1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x * 2 + self.turn(x))


def test_a_slice_that_takes_all_there_is_left():
    assert refused(Turned(), torch.randn(4, 3)) == {}


def test_a_copy_that_is_not_needed_any_more():
    """Of two heads one is left, and a permutation that moves nothing needs no copy."""

    def forward(m, x):
        heads = m.first(x).unflatten(-1, (-1, 4))
        mixed = heads.transpose(1, 2).contiguous() * m.scale.view(-1)[:, None, None]
        return m.last(mixed.transpose(1, 2).flatten(2))

    net = Net(
        forward,
        first=nn.Linear(3, 8),
        scale=nn.Parameter(torch.randn(2)),
        last=nn.Linear(8, 2),
    )
    assert refused(net, torch.randn(2, 5, 3)) == {}


def test_another_course_is_told_and_stops_what_causes_it():
    def forward(m, x):
        x = m.first(x)
        return m.last(x.relu() if x.shape[-1] == 8 else x.sigmoid())

    net = Net(forward, first=nn.Linear(3, 8), mid=nn.Linear(3, 6), last=nn.Linear(8, 2))
    net.function = lambda m, x: forward(m, x) + m.head(m.mid(x))
    net.head = nn.Linear(6, 2)
    (reason,) = refused(net, torch.randn(4, 3)).values()
    assert "runs instead of" in reason


class Folding(nn.Module):
    """Two stale numbers, with other operations before, between and behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)

    def fold(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        x = x.reshape(-1, 8).sigmoid()
        return x.reshape(x.shape[0], 1, 8).squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.fold(x))


def followed(model: nn.Module, x: Tensor, *, cut: bool = True) -> tuple[Followed, Trace]:
    """Follow a model of which half of every group has been cut, or nothing."""
    coupling = couple(model, x)
    dead = half_of_every_group(coupling.groups)
    if not cut:
        dead = [torch.zeros_like(units) for units in dead]
    plan = plan_removal(coupling.groups, dead)
    Surgery(model).apply(plan)
    trace, forecast = coupling.traces.forecasts(plan.kept)[0]
    return follow(model, trace, forecast, numbers=True), trace


def test_of_a_model_that_was_not_cut_every_operation_is_right():
    model, x = randomize(Folding()).eval(), torch.randn(4, 3)
    run, trace = followed(model, x, cut=False)
    assert run.stale == ()
    assert run.right == tuple(trace.graph.nodes)
    assert (run.stopped, run.reason) == (None, "")
    torch.testing.assert_close(run.outputs, (trace.inputs(model),))


def test_one_run_finds_every_stale_call_and_computes_what_the_right_ones_would():
    model, x = randomize(Folding()).eval(), torch.randn(4, 3)
    run, trace = followed(model, x)
    assert [stale.node.name for stale in run.stale] == ["aten::reshape"] * 2
    assert {*run.right, *(stale.node for stale in run.stale)} == set(trace.graph.nodes)
    assert run.stopped is None
    unfolded = nn.Sequential(model.first, nn.ReLU(), nn.Sigmoid(), model.last)
    torch.testing.assert_close(run.outputs, (trace.inputs(unfolded),))


def test_a_run_that_breaks_ends_at_the_operation_that_would_have_come_next():
    class Breaking(Folding):
        def fold(self, x: Tensor) -> Tensor:
            x = self.first(x).relu()
            if x.shape[-1] < 8:
                raise RuntimeError("too narrow")
            return x.tanh()

    run, trace = followed(randomize(Breaking()), torch.randn(4, 3))
    assert run.stopped is not None
    assert (run.stopped.name, run.outputs) == ("aten::tanh", ())
    assert re.fullmatch(r"RuntimeError: too narrow \(test_follow\.py:\d+\)", run.reason)
    assert [node.name for node in run.right] == ["aten::linear", "aten::relu"]
    assert trace.graph.nodes[2] is run.stopped


def test_a_tensor_of_another_size_than_forecast_ends_the_run():
    other = torch.ones(5, 3)

    class Replacing(Folding):
        def fold(self, x: Tensor) -> Tensor:
            weight = self.first.weight
            return nn.functional.linear(x, weight if len(weight) == 8 else other)

    model = Replacing()
    model.first.bias = None
    run, trace = followed(model, torch.randn(4, 3))
    assert run.stopped is trace.graph.nodes[0]
    assert run.reason.endswith("takes a tensor of (5, 3), not (4, 3)")
