"""A model that writes to its own parameters as it runs keeps them, whatever is done with it."""

import copy
from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from support.fits import make_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def layers(*widths: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(*widths[:2]), nn.ReLU(), nn.Linear(*widths[1:]))


def in_place(p: Tensor, q: Tensor) -> None:
    p.mul_(0.9).add_(q, alpha=0.1)


def by_data(p: Tensor, q: Tensor) -> None:
    p.data.lerp_(q.data, 0.1)


def copied(p: Tensor, q: Tensor) -> None:
    p.copy_(0.9 * p + 0.1 * q)


class Teacher(L.LightningModule):
    """Its teacher follows in every forward pass of the training."""

    def __init__(self, follow: Callable[[Tensor, Tensor], None] = in_place) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.student = layers(6, 32, 8)
        self.teacher = layers(6, 32, 8).requires_grad_(False)
        self.head = layers(8, 32, 8)
        self.follow = follow

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                pairs = zip(self.teacher.parameters(), self.student.parameters(), strict=True)
                for p, q in pairs:
                    self.follow(p, q)
        return self.head(self.student(x)) + self.teacher(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Initialised(nn.Module):
    """Its scale follows from the first batch, as in Glow."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(6, 16), nn.Linear(16, 3)
        self.scale, self.ready = nn.Parameter(torch.ones(16)), False

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        if self.training and not self.ready:
            self.scale.data.copy_(1 / (h.detach().std(0) + 1e-3))
            self.ready = True
        return self.c(torch.relu(self.scale * h))


class Flat(nn.Module):
    """Its weights lie in one piece of memory, and one of them follows the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(6, 6, bias=False) for _ in range(3))
        flat = torch.cat([self.a.weight.detach(), self.b.weight.detach()])
        self.a.weight, self.b.weight = nn.Parameter(flat[:6]), nn.Parameter(flat[6:])

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.b.weight.lerp_(self.a.weight, 0.1)
        return self.c(torch.relu(self.a(x)) + torch.relu(self.b(x)))


class Merging(nn.Module):
    """An adapter is merged into the weight beside it for eval mode, as in loralib."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.base, self.out = nn.Linear(6, 16), nn.Linear(16, 3)
        self.down, self.up = nn.Linear(6, 2, bias=False), nn.Linear(2, 16, bias=False)
        self.merged = False

    def train(self, mode: bool = True) -> "Merging":
        super().train(mode)
        if mode is self.merged:
            added = self.up.weight @ self.down.weight
            self.base.weight.data += -added if mode else added
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        h = self.base(x) if self.merged else self.base(x) + self.up(self.down(x))
        return self.out(torch.relu(h))


class Upkeep(nn.Module):
    """It writes to a weight now and then, in eval mode, too."""

    def __init__(self, is_due: Callable[[int, Tensor], bool]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(6, 12), nn.Linear(12, 10), nn.Linear(10, 3)
        self.calls, self.is_due = 0, is_due

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.is_due(self.calls, x):
            self.a.weight.data.mul_(0.99)
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


MODELS = {
    "in place": Teacher,
    "by data": lambda: Teacher(by_data),
    "copied": lambda: Teacher(copied),
    "initialised": Initialised,
    "one piece of memory": Flat,
    "merging": Merging,
    "merged": lambda: Merging().eval(),
    "every fourth call": lambda: Upkeep(lambda calls, x: calls % 4 == 0),
    "batches of four or more": lambda: Upkeep(lambda calls, x: len(x) >= 4),
}
RARE: dict[str, Callable[[int, Tensor], bool]] = {
    "every fourth call": lambda calls, x: calls % 4 == 0,
    "batches of four or more": lambda calls, x: len(x) >= 4,
    "batches of one": lambda calls, x: len(x) == 1,
    "large values": lambda calls, x: bool(x.abs().max() > 5),
}
FUNCTIONS: dict[str, Callable[[nn.Module], object]] = {
    "couple": lambda model: lp.couple(model, X),
    "plan": lambda model: lp.plan(model, X, sparsity=0.5),
    "count_macs": lambda model: lp.count_macs(model, X),
    "measure_latency": lambda model: lp.measure_latency(model, X, max_seconds=0.1),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_to_look_at_a_model_changes_none_of_its_parameters(
    make: Callable[[], nn.Module], function: Callable[[nn.Module], object]
) -> None:
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    function(model)
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


def test_what_is_beside_them_is_removed_and_they_stay() -> None:
    model = Teacher()
    lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude(), include=["head*"])
    before = {name: tensor.clone() for name, tensor in model.teacher.state_dict().items()}
    assert lp.compact(model, X, latency=False).removed == 16
    assert all(torch.equal(before[name], now) for name, now in model.teacher.state_dict().items())


def test_to_watch_a_training_does_not_change_it() -> None:
    ends = []
    for callbacks in (
        [],
        [lp.LatencyMonitor()],
        [lp.Pruning(0.5, dry_run=True)],
        [lp.Compaction()],
    ):
        model = Teacher()
        data = DataLoader(TensorDataset(X.repeat(4, 1)), 4)
        make_trainer(*callbacks, epochs=2).fit(model, data)
        ends.append(model.state_dict())
    for end in ends[1:]:
        assert all(torch.equal(ends[0][name], now) for name, now in end.items())


@pytest.mark.parametrize("is_due", RARE.values(), ids=RARE)
def test_compaction_runs_copies_of_a_model_that_seldom_writes(
    is_due: Callable[[int, Tensor], bool],
) -> None:
    model = Upkeep(is_due).eval()
    with torch.no_grad():
        model.b.weight[:4], model.b.bias[:4] = 0, 0
    before = model.a.weight.clone()
    lp.compact(model, X)
    assert torch.equal(model.a.weight, before)


@pytest.mark.parametrize("training", [True, False])
def test_a_merged_adapter_is_pruned_and_compact_in_both_modes(training: bool) -> None:
    model = Merging().train(training)
    lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude())
    masked = copy.deepcopy(model)
    assert lp.compact(model, X, latency=False).removed > 0
    for mode in (True, False, True):
        torch.testing.assert_close(model.train(mode)(X), masked.train(mode)(X))
