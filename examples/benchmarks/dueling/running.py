"""One method at one speed-up on one seed, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from traceback import extract_tb

import torch
from torch import nn

from dueling.case import Case, search
from dueling.methods import Method
from dueling.training import batch_norms, renew_norms, score, train
from lightning_prune.measure import measure_in_turns

STAGES = ("cut", "norms", "compensated", "5", "20", "100")
"""What becomes of a network; a number is the percentage of the dense epochs that it trains."""


@dataclass(frozen=True)
class Row:
    """What came out of a stage.

    Args:
        problem: its name.
        method: its name.
        speedup: in MACs, as asked for.
        seed: of the dense network and of what follows.
        stage: one of `STAGES`.
        score: on the test data, higher is better; None if the method failed.
        epochs: of training since the dense network.
        macs_ratio: MACs before over those after.
        latency_ratio: milliseconds before over those after, of 64 inputs; measured at ``"cut"``.
        sparsity: that the method was given.
        seconds: that the stage took.
        note: what went wrong.
    """

    problem: str
    method: str
    speedup: float
    seed: int
    stage: str
    score: float | None = None
    epochs: int = 0
    macs_ratio: float | None = None
    latency_ratio: float | None = None
    sparsity: float | None = None
    seconds: float = 0.0
    note: str = ""

    @property
    def key(self) -> tuple[str, str, float, int, str]:
        """What tells rows apart."""
        return self.problem, self.method, self.speedup, self.seed, self.stage


class Run:
    """A method on a case: searched, cut and compensated at most once.

    Args:
        case: what to cut, and how much.
        name: of the method.
        method: how.
        sparsity: what an earlier search has found; None to search.
    """

    def __init__(self, case: Case, name: str, method: Method, sparsity: float | None) -> None:
        self.case = case
        self.name = name
        self.method = method
        self._found = sparsity

    def stages(self, asked: Sequence[str]) -> Iterator[Row]:
        """Go through some of `STAGES`, but those that the method does not have.

        Yields:
            A row as soon as its stage is done. A method that fails says so in each.
        """
        case = self.case
        for stage in filter(self._has, asked):
            row = Row(case.problem.name, self.name, case.speedup, case.seed, stage)
            start = time.perf_counter()
            torch.manual_seed(case.seed)
            try:
                row = self._done(row)
            except Exception as error:  # whatever another package raises is told
                text = str(error) or extract_tb(error.__traceback__)[-1].line
                row = replace(row, note=f"{type(error).__name__}: {text}".split("\n")[0])
            yield replace(row, seconds=round(time.perf_counter() - start, 1))

    def _has(self, stage: str) -> bool:
        if stage == "compensated":
            return self.method.compensated is not None
        if stage == "norms" and not batch_norms(self.case.dense):
            return False
        return stage.isdigit() or self.method.train is None

    def _done(self, row: Row) -> Row:
        """Return the row with what came out of its stage."""
        case, problem = self.case, self.case.problem
        epochs = max(1, round(problem.epochs * int(row.stage) / 100)) if row.stage.isdigit() else 0
        network = self._network(row.stage, epochs)
        return replace(
            row,
            score=round(score(problem, network, case.data.test), 4),
            epochs=epochs,
            macs_ratio=round(case.macs_ratio(network), 3),
            latency_ratio=self._latency_ratio(network) if row.stage == "cut" else None,
            sparsity=None if self.method.train else self._sparsity,
        )

    def _network(self, stage: str, epochs: int) -> nn.Module:
        """Return what becomes of the network in a stage."""
        case = self.case
        if epochs and self.method.train:
            return self.method.train(case, epochs)
        network = deepcopy(self._cut if stage in ("cut", "norms") else self._compensated)
        torch.manual_seed(case.seed)
        if stage == "norms":
            renew_norms(case.problem, network, case.data.train)
        if epochs:
            teacher = [self.method.teacher(case)] if self.method.teacher else []
            train(case.problem, network, case.data, epochs, case.problem.recovery_rate, teacher)
        return network

    @cached_property
    def _sparsity(self) -> float:
        if not self.method.searched:
            return 1 - 1 / self.case.speedup
        return search(self.case, self.method.cut) if self._found is None else self._found

    @cached_property
    def _cut(self) -> nn.Module:
        return self.method.cut(self.case, self._sparsity)

    @cached_property
    def _compensated(self) -> nn.Module:
        cut = self.method.compensated
        return self._cut if cut is None else cut(self.case, self._sparsity)

    def _latency_ratio(self, network: nn.Module) -> float:
        inputs = self.case.problem.prepare(self.case.data.test.inputs[:64])
        turns = measure_in_turns([self.case.dense, network], inputs, threads=1, max_seconds=3.0)
        return round(turns.speedup().ratio, 3)
