"""Whatever goes wrong on the way, the model is as it was, or compact with its report."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.errors import PruningError

X = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))


class Passes(nn.Module):
    """Counts the forward passes of all copies of a network, and fails in some of them."""

    seen = 0
    failing = 0
    lasting = 1

    def forward(self, x: Tensor) -> Tensor:
        Passes.seen += 1
        if Passes.failing and 0 <= Passes.seen - Passes.failing < Passes.lasting:
            raise MemoryError("in this pass")
        return x


class Net(nn.Module):
    """Has a width in its source, a branch that adds zeros, a constant unit and dead channels."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = Passes()
        self.stem = nn.Conv2d(2, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.branch = nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1))
        self.wide = nn.Linear(8, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.stem(self.passes(x)))
        y = (y + self.branch(y)).relu().flatten(2).transpose(1, 2)
        y = self.wide(y.reshape(y.shape[0], -1, 8)).relu()
        return self.head(y).mean(1)


def masked() -> Net:
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        for parameter in model.branch[2].parameters():
            parameter.zero_()
        for tensor in (model.stem.weight, model.stem.bias, model.norm.weight, model.norm.bias):
            tensor[:3] = 0
        model.wide.weight[:5] = 0
        model.wide.bias[:3] = 0
        model.wide.bias[3:5] = 0.5
    model.stem.weight.grad = torch.ones_like(model.stem.weight)
    return model


def state(model: nn.Module) -> dict[str, Any]:
    """Everything that a compaction may touch."""
    kept: dict[str, Any] = {}
    for name, module in model.named_modules():
        plain = {k: v for k, v in vars(module).items() if type(v) in {int, tuple, bool, str}}
        kept[name] = (type(module), plain, sorted(vars(module)))
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        kept[f"{name}:"] = (id(tensor), tuple(tensor.shape), tensor.tolist(), tensor.requires_grad)
        kept[f"{name}:grad"] = None if tensor.grad is None else tensor.grad.tolist()
    return kept


def check(model: Net, before: dict[str, Any], report: lp.CompactionReport | None) -> None:
    # An interrupt may come when all is done, just before the report is handed over.
    if report is None and "_compaction_plan" not in vars(model):
        assert state(model) == before
        return
    done = report or lp.compact(masked(), X, latency=False)
    assert done.params_after == sum(p.numel() for p in model.parameters())
    x = torch.randn(5, 2, 6, 6)
    model.eval()
    assert torch.allclose(model(x), masked().eval()(x), atol=1e-6)


def attempt(model: Net) -> lp.CompactionReport | None:
    try:
        return lp.compact(model, X, latency=False)
    except (PruningError, MemoryError, KeyboardInterrupt):
        return None


@pytest.mark.slow
@pytest.mark.parametrize("lasting", [1, 2])
def test_an_exception_in_any_forward_pass_leaves_the_model_whole(
    lasting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Passes, "lasting", lasting)
    failing, ended = 0, {True: 0, False: 0}
    while True:
        failing += 1
        Passes.seen, Passes.failing = 0, failing
        model = masked()
        before = state(model)
        report = attempt(model)
        passed, Passes.failing = Passes.seen < failing, 0
        check(model, before, report)
        ended[report is not None] += 1
        if passed:
            break
    assert failing > 10
    assert ended[True] > 1, "a failure while multiply-adds are counted loses nothing"
    # A pass that fails without numbers is made again, with them.
    assert ended[False] or lasting == 1


def seconds_of_a_compaction() -> float:
    started = time.perf_counter()
    lp.compact(masked(), X, latency=False)
    return time.perf_counter() - started


class Interrupts:
    """A keyboard interrupt some time after it is armed, unless it is disarmed by then.

    The alarm is handled by the main thread, so that none arrives after `disarm`.
    """

    def __init__(self) -> None:
        self.armed = False

    def arm(self, seconds: float) -> None:
        self.armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def disarm(self) -> None:
        self.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Interrupt, but not the measuring of coverage, which would keep a lock for ever."""
        files = [Path(call.filename) for call in traceback.extract_stack(frame)]
        if self.armed and not any("coverage" in file.parts for file in files):
            self.armed = False
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_an_interrupt_at_any_moment_leaves_the_model_whole() -> None:
    """In a process of its own: a mode of torch that is interrupted as it ends stays on."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def interrupt_at_any_moment() -> None:
    interrupts = Interrupts()
    signal.signal(signal.SIGALRM, interrupts.handle)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    generator = random.Random(0)
    interrupted, seconds = 0, seconds_of_a_compaction()
    for attempts in itertools.count(1):
        if attempts % 10 == 0:  # the machine may be busy with something else by now
            seconds = seconds_of_a_compaction()
        model = masked()
        before = state(model)
        report = None
        try:
            interrupts.arm(generator.uniform(1e-6, seconds))
            report = attempt(model)
            interrupts.disarm()
        except KeyboardInterrupt:  # after the end
            pass
        interrupted += report is None
        check(model, before, report)
        if interrupted > 25:
            break


if __name__ == "__main__":
    interrupt_at_any_moment()
