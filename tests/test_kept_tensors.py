"""Models that keep what they have computed: everything runs on them, on copies."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from support.nets import KeepsTable
from torch import Tensor, nn
from torch.nn.utils import prune, spectral_norm, weight_norm

import lightning_prune as lp
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.report.layers import ms_by_layer

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@dataclass
class Record:
    hidden: Tensor


class Keeps(nn.Module):
    """Keeps an activation with its graph, each time in another way."""

    def __init__(self, keep: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.last = nn.Linear(8, 3)
        self.kept: Any = None
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu()
        self.kept = self.keep(self.kept, hidden)
        return self.last(hidden)


def hooked() -> nn.Module:
    """Return a net of which a hook, a closure, keeps every activation."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    seen: list[Tensor] = []
    model[0].register_forward_hook(lambda module, args, output: seen.append(output))
    return model


def computed(change: Callable[[nn.Module], Any]) -> nn.Module:
    """Return a net with a weight that a hook computes before every forward pass."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        change(model[2])
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "attribute": lambda: Keeps(lambda kept, hidden: hidden),
    "list": lambda: Keeps(lambda kept, hidden: [*(kept or []), hidden]),
    "dict": lambda: Keeps(lambda kept, hidden: {"hidden": {"last": hidden}}),
    "set": lambda: Keeps(lambda kept, hidden: {hidden}),
    "dataclass": lambda: Keeps(lambda kept, hidden: Record(hidden)),
    "deque": lambda: Keeps(lambda kept, hidden: deque([hidden], 2)),
    "closure": lambda: Keeps(lambda kept, hidden: lambda: hidden),
    "hook": hooked,
    "weight_norm": lambda: computed(weight_norm),
    "spectral_norm": lambda: computed(spectral_norm),
    "prune": lambda: computed(lambda module: prune.l1_unstructured(module, "weight", 0.5)),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS[request.param]()
    model(X).square().mean().backward()  # as after a training step
    return model.eval()


def test_it_is_coupled_counted_and_timed(model: nn.Module) -> None:
    assert lp.couple(model, X).groups
    assert lp.count_macs(model, X) > 0
    assert lp.measure_latency(model, X, min_runs=1, max_seconds=0.01).p50_ms > 0


def test_it_is_pruned_and_compacted(model: nn.Module) -> None:
    pruned = lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude(), granularity=lp.Channel())
    expected = model(X)
    report = lp.compact(model, X, latency=False)
    assert pruned.sparsity == pytest.approx(0.5, abs=0.1)
    assert report.params_after < report.params_before
    assert not report.refused
    assert torch.allclose(model(X), expected, atol=1e-5)
    model.train()(X).sum().backward()


def test_it_is_pruned_by_data(model: nn.Module) -> None:
    report = lp.prune(
        model,
        X,
        sparsity=0.5,
        criterion=lp.Taylor(),
        batches=[X, X],
        loss=lambda model, x: model(x).square().mean(),
    )
    assert report.sparsity == pytest.approx(0.5, abs=0.1)


def test_its_sensitivity_is_measured_on_a_copy(model: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = lp.sensitivity(
        model,
        X,
        lambda model, x: -float(model(x).square().mean()),
        example_inputs=X,
        sparsities=[0.5],
        progress=False,
    )
    assert report.curves
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_it_keeps_is_left_alone() -> None:
    model = hooked()
    (hook,) = model[0]._forward_hooks.values()
    (cell,) = hook.__closure__
    lp.couple(model, X)
    lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude())
    lp.compact(model, X, latency=False)
    assert cell.cell_contents == []


RUNS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "couple": lp.couple,
    "count_macs": lp.count_macs,
    "measure_latency": lambda net, x: lp.measure_latency(net, x, max_seconds=0.05),
    "prune": lambda net, x: lp.prune(net, x, sparsity=0.5, criterion=lp.Magnitude()),
    "plan": lambda net, x: lp.plan(net, x, sparsity=0.5),
    "compact": lp.compact,
    "compactable": lambda net, x: compacted(net, x),
    "compare": lambda net, x: lp.compare(
        net, x, [lp.Magnitude()], sparsity=0.5, metric=lambda pruned: float(pruned(x).sum())
    ),
    "sensitivity": lambda net, x: lp.sensitivity(
        net, x, lambda pruned, x: float(pruned(x).sum()), example_inputs=x, sparsities=[0.5]
    ),
    "ms_by_layer": lambda net, x: ms_by_layer([net], ExampleInputs.of(x)),
}


def compacted(net: nn.Module, x: Tensor) -> None:
    """Compact a net, and bring a fresh one to the same sizes."""
    lp.prune(net, x, sparsity=0.5, criterion=lp.Magnitude())
    lp.compact(net, x)


class KeepsOne(nn.Module):
    """Keeps the table of its last size only, made by a layer that does not train."""

    kept: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Linear(4, 8).requires_grad_(False)
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
        self.kept.clear()

    def table(self, length: int) -> Tensor:
        return self.places(torch.linspace(0, 1, 4 * length).view(length, 4).to(self.places.weight))

    def run(self, x: Tensor) -> Tensor:
        if self.kept.get("length") != x.shape[1]:
            self.kept.update(length=x.shape[1], table=self.table(x.shape[1]))
        return self.last(self.first(x + self.kept["table"].to(x)).relu())

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x) + self.run(x[:, ::2]).mean(1, keepdim=True)


@pytest.mark.parametrize("name", ["couple", "count_macs", "measure_latency", "prune", "compact"])
def test_a_table_of_the_last_size_is_right_and_can_be_trained_with(name):
    net, x = KeepsOne(), torch.randn(2, 6, 8)
    RUNS[name](net, x)
    length, table = KeepsOne.kept["length"], KeepsOne.kept["table"].float()
    net.run(torch.randn(2, length, 8)).sum().backward()
    assert torch.equal(table, net.table(length))


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_what_is_kept_elsewhere_can_be_trained_with(run):
    net, x = KeepsTable(), torch.randn(2, 8)
    run(net, x)
    net(x).sum().backward()
    assert torch.equal(KeepsTable.kept["table"], torch.arange(8.0).sigmoid())
