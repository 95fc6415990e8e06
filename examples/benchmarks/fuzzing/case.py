"""Case: one random net is damaged and compacted, and compared with what it was."""

from __future__ import annotations

import copy
import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from fuzzing.compare import MODES, Mode, error, prepared
from fuzzing.damage import damage, randomize
from fuzzing.dice import Dice, RandomNet
from fuzzing.nets import KINDS
from torch import nn

import lightning_prune as lp

_SECONDS = 120
"""A case that computes for longer is wrong."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Args:
        number: of the case.
        kind: of the net.
        damage: what was zeroed.
        dtype: ``"float64"`` or ``"float32"``.
        result: ``"removed"``, ``"nothing to remove"``, ``"refused"`` or ``"wrong"``.
        error: the largest relative error.
        where: mode and inputs with that error.
        message: what was raised, or what else is wrong.
    """

    number: int
    kind: str
    damage: str = ""
    dtype: str = ""
    result: str = "removed"
    error: float = 0.0
    where: str = ""
    message: str = ""


def kind_of(number: int) -> str:
    """Return the kind of net of a case."""
    return list(KINDS)[number % len(KINDS)]


def run(number: int) -> Outcome:
    """Run one case, all of which follows from its number."""
    warnings.simplefilter("ignore")
    kind = kind_of(number)
    try:
        with torch.random.fork_rng(devices=[]), _time_limit(_SECONDS):
            torch.manual_seed(number)
            return _Case(number, kind).run()
    except Exception as reason:
        last = traceback.extract_tb(reason.__traceback__)[-1]
        message = f"{type(reason).__name__}: {reason} ({last.filename}:{last.lineno})"
        return Outcome(number, kind, result="wrong", message=message)


class _Case:
    def __init__(self, number: int, kind: str) -> None:
        self.number, self.kind = number, kind
        self.dice = Dice(number)
        self.net: RandomNet = KINDS[kind](self.dice)
        self.dtype = self.dice.choose(torch.float64, torch.float32)
        self.model = self.net.model.to(torch.float64)
        randomize(self.model, self.dice)
        self.model.to(self.dtype).train(self.dice.chance(0.3))
        example = self.net.example
        if self.dice.chance(0.2):
            example = example.but("example", scale=0.1)
        self.example = tuple(self._cast(x) for x in self.net.inputs(example))
        self.damage = ""

    def run(self) -> Outcome:
        """Damage the model, compact it and compare; some are damaged and compacted again.

        Some are saved, and what is compared, and perhaps goes on, is loaded into a fresh model.
        """
        self.fresh = copy.deepcopy(self.model)
        outcomes = []
        for _ in range(2 if self.dice.chance(0.15) else 1):
            self.damage += damage(self.model, self.example, self.dice) + "; "
            outcomes.append(self._round())
            if outcomes[-1].result != "removed":
                break
        return next((o for o in outcomes if o.result == "wrong"), outcomes[0])

    def _round(self) -> Outcome:
        masked = copy.deepcopy(self.model)
        message = ""
        try:
            report = lp.compact(self.model, self.example, latency=False)
        except lp.PruningError as reason:
            result, message = "refused", str(reason)
            if not _is_unchanged(masked, self.model):
                return self._outcome("wrong", message=f"changed, though it refused: {reason}")
        else:
            removed = report.params_after < report.params_before
            result = "removed" if removed else "nothing to remove"
            if removed and self.dice.chance(0.2):
                self.damage += "loaded; "
                self.model = _loaded(self.model, into=copy.deepcopy(self.fresh))
        if _switches(masked) != _switches(self.model):
            return self._outcome("wrong", message="other keys in the state dict, or another mode")
        return self._compared(masked) or self._outcome(result, message=message)

    def _compared(self, masked: nn.Module) -> Outcome | None:
        """Return what is wrong, None if all is right."""
        torch.manual_seed(self.number)  # whatever compaction drew, the inputs are the same
        masked, compact = prepared(masked), prepared(self.model)
        worst: Outcome | None = None
        for mode, name, inputs in self._comparisons():
            where = f"{mode.name}, {name}"
            try:
                found = error(masked, compact, mode, inputs)
            except Exception as reason:  # only the compact model raises
                message = f"{type(reason).__name__}: {reason}"
                return self._outcome("wrong", where=where, message=message)
            if found and (worst is None or found > worst.error):
                worst = self._outcome("wrong", found, where)
        return worst

    def _comparisons(self) -> Iterator[tuple[Mode, str, list[tuple[Any, ...]]]]:
        for draw in self.net.draws():
            yield MODES[self.dice.chance(0.3)], draw.name, [self.net.inputs(draw)]
        for draw in self.dice.some(self.net.draws(), 0.35):
            yield MODES[2], draw.name, [self.net.inputs(draw) for _ in range(2)]

    def _outcome(
        self, result: str, error: float = 0.0, where: str = "", message: str = ""
    ) -> Outcome:
        dtype = str(self.dtype).removeprefix("torch.")
        return Outcome(self.number, self.kind, self.damage, dtype, result, error, where, message)

    def _cast(self, x: Any) -> Any:
        return x.to(self.dtype) if torch.is_tensor(x) and x.is_floating_point() else x


def _loaded(model: nn.Module, into: nn.Module) -> nn.Module:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "compact.safetensors"
        lp.save_compact(model, path)
        return lp.load_compact(into, path)


def _switches(model: nn.Module) -> tuple[list[str], list[bool]]:
    return list(model.state_dict()), [module.training for module in model.modules()]


def _is_unchanged(before: nn.Module, after: nn.Module) -> bool:
    first, second = before.state_dict(), after.state_dict()
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # time of this process, however many others run
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
