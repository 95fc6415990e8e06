"""Reference: what the masked model computes, run when it is asked for and then kept.

A trial is one copy of the model that is called once or several times. Trials come in the order in
which they are worth most: the examples in float32, then in float64 and in train mode, then all that
may vary in the inputs, as long as time allows. What could not be tried is noted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from textwrap import shorten

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from lightning_prune.compaction.verification.comparison import is_same
from lightning_prune.compaction.verification.copies import Copies
from lightning_prune.compaction.verification.memory import has_room
from lightning_prune.compaction.verification.runs import Pass, Run, runs
from lightning_prune.compaction.verification.variants import (
    Question,
    questions,
    smaller_choices,
    training_choices,
)
from lightning_prune.errors import ExampleInputsError, VerificationError
from lightning_prune.modules.inputs import ExampleInputs

_EXAMPLES = 2
_LETTERS = 120
_FORWARDS = 4
_LEAST_SECONDS = 0.3
_MOST_SECONDS = 20.0
"""How long variants may take: so many times the first forward, but within these bounds."""
_SLOW_SECONDS = 0.5
_MANY_NUMBERS = 2**16
"""Models whose first forward takes longer, or that take more numbers, run in float64 on smaller
sizes, where they take any."""


@dataclass(frozen=True, eq=False)
class Trial:
    """Calls of one copy of the masked model, and what came of them.

    Args:
        steps: the calls.
        dtype: type of the arithmetic; None for the model's own.
        runs: one for each step.
        truth: where the model's own arithmetic has few digits, the same in more digits.
        is_variant: whether the inputs are a variant of an example.
    """

    steps: tuple[Pass, ...]
    dtype: torch.dtype | None
    runs: tuple[Run, ...]
    truth: tuple[Run, ...] | None = None
    is_variant: bool = False


class Reference:
    """What the masked model computes.

    Args:
        model: the masked model; it must not change in place as long as this is used.
        examples: arguments for it, on its device.

    Raises:
        ExampleInputsError: if the model does not run on the examples.
        VerificationError: if it returns nothing that could be compared.
    """

    def __init__(self, model: nn.Module, examples: Sequence[ExampleInputs]) -> None:
        self.tried: list[str] = []
        self.untried: list[str] = []
        self.no_time: list[str] = []
        self._model, self._examples = model, examples
        self._copies = Copies(model)
        self._why = ""
        with self._copies.borrowed(torch.float32, trains=False):
            pass  # to make a copy is no forward pass
        started = time.perf_counter()
        self.dtype = self._first_dtype()
        self._trials = [self._first(example) for example in examples]
        seconds = time.perf_counter() - started
        self._is_slow = seconds > _SLOW_SECONDS * len(examples)
        self._seconds_left = min(max(_FORWARDS * seconds, _LEAST_SECONDS), _MOST_SECONDS)
        if not any(one.proves for trial in self._trials for one in trial.runs):
            raise VerificationError(
                f"Expected `{type(model).__name__}.forward` to return tensors of real numbers, but "
                "got none that is finite, so nothing can be proved. Pass a model that returns what "
                "it computes, at least one example, and weights without NaN."
            )
        self.tried.append(str(self.dtype).removeprefix("torch."))
        self._more = self._following(tuple(self._trials))

    def __iter__(self) -> Iterator[Trial]:
        index = 0
        while True:
            if index == len(self._trials):
                following = next(self._more, None)
                if following is None:
                    return
                self._trials.append(following)
            yield self._trials[index]
            index += 1

    def _first_dtype(self) -> torch.dtype:
        """Return float32, or float64 if a model of that names it in its code."""
        if not any(parameter.dtype == torch.float64 for parameter in self._model.parameters()):
            return torch.float32
        steps = (Pass(self._examples[0]),)
        fails = self._attempt(steps, torch.float32) is None
        return torch.float64 if fails else torch.float32

    def _first(self, example: ExampleInputs) -> Trial:
        """Run an example, cut to a small batch if the model takes that."""
        small = example.narrowed(_EXAMPLES)
        trial = self._attempt((Pass(small),), self.dtype) if small is not example else None
        if trial is not None:
            return trial
        steps = (Pass(example),)
        return Trial(steps, self.dtype, tuple(runs(self._copies, steps, self.dtype)))

    def _attempt(self, steps: tuple[Pass, ...], dtype: torch.dtype) -> Trial | None:
        try:
            return Trial(steps, dtype, tuple(runs(self._copies, steps, dtype)))
        except ExampleInputsError as error:
            reason = str(error.__cause__).strip().split("\n")[0]
            self._why = shorten(f"{type(error.__cause__).__name__}: {reason}", _LETTERS)
            return None

    def _following(self, firsts: Sequence[Trial]) -> Iterator[Trial]:
        truths: list[Trial] = []
        for first in firsts:
            example = first.steps[0].inputs
            quick = self._quick(example)
            where = "" if quick is example else " on smaller inputs"
            exact = self._exact(quick, where)
            trained = exact if exact is not None and exact.steps[0].training else None
            if trained is None:
                trained = self._trained(quick, self.dtype)
            yield from self._comparable(exact, trained, where)
            if _has_few_digits(self._model):
                truths.append((exact and self._evaluated(exact)) or first)
        for first, whole in zip(firsts, self._examples, strict=True):
            yield from self._variants(first.steps[0].inputs, whole)
        for truth in truths:
            self.tried.append("the model's own arithmetic")
            own = runs(self._copies, truth.steps, None, truth.runs)
            yield Trial(truth.steps, None, tuple(own), truth.runs)

    def _quick(self, example: ExampleInputs) -> ExampleInputs:
        """Return an example, or one of at most half its size if it takes long and that will do."""
        takes_long = self._is_slow or sum(t.numel() for t in example.tensors) > _MANY_NUMBERS
        for choice in smaller_choices(example) if takes_long else []:
            fits = _is_half(choice, example) and not choice.points_outside(example)
            if fits and self._attempt((Pass(choice),), self.dtype) is not None:
                return choice
        return example

    def _exact(self, example: ExampleInputs, where: str) -> Trial | None:
        """Run an example in float64, in train mode as well if that is possible."""
        if not has_room(self._model):
            self.untried.append("float64: not enough memory for a copy")
            return None
        trial = self._trained(example, torch.float64)
        trial = trial or self._attempt((Pass(example),), torch.float64)
        if trial is None:
            self.untried.append(f"float64: {self._why}")
        elif any(one.lowers_precision for one in trial.runs):
            self.untried.append("float64: the model casts to fewer digits")
            return None
        else:
            self.tried.append(f"float64{where}")
        return trial

    def _trained(self, example: ExampleInputs, dtype: torch.dtype) -> Trial | None:
        """Run an example in train mode and, after that, in eval mode."""
        for training in training_choices(example):
            steps = (
                Pass(training, training=True, name="in train mode"),
                Pass(example, name="after a pass in train mode"),
            )
            trial = self._attempt(steps, dtype)
            if trial is not None:
                return trial
        return None

    def _evaluated(self, exact: Trial) -> Trial | None:
        """Return what was run in eval mode alone, or run it so."""
        if not exact.steps[0].training:
            return exact
        return self._attempt((Pass(exact.steps[-1].inputs),), torch.float64)

    def _comparable(
        self, exact: Trial | None, trained: Trial | None, where: str
    ) -> Iterator[Trial]:
        """Yield what can be compared; in train mode only what is not random."""
        if trained is None:
            self.untried.append(f"train mode: {self._why}")
        elif self._is_random(trained):
            self.untried.append("train mode: the model draws random numbers")
        else:
            self.tried.append(f"train mode{where}")
            yield from [trained] if exact in (trained, None) else [exact, trained]
            return
        evaluated = exact and self._evaluated(exact)
        if evaluated is not None:
            yield evaluated

    def _is_random(self, trained: Trial) -> bool:
        if not trained.runs[0].draws:
            return False
        again = runs(self._copies, trained.steps, trained.dtype, seed=1)
        return not all(map(is_same, trained.runs, again))

    def _variants(self, example: ExampleInputs, whole: ExampleInputs) -> Iterator[Trial]:
        forward = getattr(self._model, example.method)
        asking = questions(forward, example, whole)
        question = next(asking)
        while True:
            trial = self._answer(question, example)
            if trial is not None:
                yield trial
            try:
                question = asking.send(trial is not None)
            except StopIteration:
                return

    def _answer(self, question: Question, example: ExampleInputs) -> Trial | None:
        """Return the first choice that the model takes, and that shows something."""
        if not (question.is_basic or example.measured):
            return None
        fitting = (
            one
            for one in question.choices
            if not (_are_equal(one, example) or one.points_outside(example))
        )
        first = next(fitting, None)
        if first is None:
            return None
        if self._seconds_left <= 0 and not question.is_basic:
            self.no_time.append(question.about)
            return None
        started = time.perf_counter()
        try:
            for choice in chain([first], fitting):
                trial = self._attempt((Pass(choice, name=f"on {question.about}"),), self.dtype)
                if trial is not None and trial.runs[0].proves:
                    self.tried.append(question.about)
                    return replace(trial, is_variant=True)
        finally:
            self._seconds_left -= time.perf_counter() - started
        self.untried += [f"{question.about}: {self._why}"] * question.is_usual
        return None


def _is_half(inputs: ExampleInputs, full: ExampleInputs) -> bool:
    """Tell whether what is smaller of some inputs has at most half of the numbers."""
    pairs = zip(inputs.tensors, full.tensors, strict=True)
    changed = [(a.numel(), b.numel()) for a, b in pairs if a.shape != b.shape]
    return bool(changed) and 2 * sum(a for a, _ in changed) <= sum(b for _, b in changed)


def _are_equal(one: ExampleInputs, other: ExampleInputs) -> bool:
    leaves = [tree_leaves((inputs.args, inputs.kwargs)) for inputs in (one, other)]
    return len(leaves[0]) == len(leaves[1]) and all(map(_is_equal, *leaves))


def _is_equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    return one is other


def _has_few_digits(model: nn.Module) -> bool:
    return any(t.is_floating_point() and torch.finfo(t.dtype).bits < 32 for t in model.parameters())
