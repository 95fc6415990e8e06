"""Runs: how a model is run when it is compared, and what is noted of it.

A copy runs, in eval or in train mode, in the asked arithmetic, from the same random seed. Layers
that leave out numbers at random leave out none: what they draw depends on sizes, which compaction
changes. Whatever else draws random numbers is noted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from lightning_prune.compaction.verification.copies import Copies
from lightning_prune.compaction.verification.decisions import Decision, Decisions, is_proof
from lightning_prune.compaction.verification.leaves import is_finite_number, leaves_of
from lightning_prune.modules.caches import results
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.operations import base_name
from lightning_prune.modules.seeding import seeded


@dataclass(frozen=True, eq=False)
class Pass:
    """One call of a model.

    Args:
        inputs: what it is called with.
        training: whether it is in train mode, with gradients.
        name: when that is, in words.
    """

    inputs: ExampleInputs
    training: bool = False
    name: str = ""


@dataclass(frozen=True, eq=False)
class Run:
    """What a model returned in one call, and what it did on the way.

    Args:
        leaves: the tensors, numbers and words that it returned.
        decisions: what it picked.
        lowers_precision: whether it casts to a type of fewer digits.
        draws: whether it draws random numbers.
    """

    leaves: list[Any]
    decisions: list[Decision]
    lowers_precision: bool
    draws: bool

    @property
    def proves(self) -> bool:
        """Whether there is anything that could tell two models apart."""
        return any(map(is_finite_number, self.leaves)) or is_proof(self.decisions)


def runs(
    copies: Copies,
    steps: Sequence[Pass],
    dtype: torch.dtype | None,
    earlier: Sequence[Run] | None = None,
    seed: int = 0,
) -> Iterator[Run]:
    """Call one copy of a model several times.

    Args:
        copies: of the model, which is left alone.
        steps: the calls, in order.
        dtype: type of the real numbers; None for those that the model has.
        earlier: runs of another model whose decisions are repeated.
        seed: of the random numbers in each call.

    Yields:
        One run for each step.

    Raises:
        ExampleInputsError: if the model does not run.
    """
    with copies.borrowed(dtype, trains=any(step.training for step in steps)) as copied:
        for index, step in enumerate(steps):
            repeated = earlier[index].decisions if earlier is not None else None
            yield _called(copied, step, Decisions(repeated), seed)


def _called(model: nn.Module, step: Pass, decisions: Decisions, seed: int) -> Run:
    if model.training != step.training:
        model.train(step.training)
    inputs = step.inputs.on(model).map(torch.clone)  # it may write into its inputs
    rates = RatesAtZero() if step.training else None
    grad = torch.set_grad_enabled(step.training)  # as it trains: code may ask for it
    with _seeded(model, inputs, seed) as drew, grad, decisions, rates or nullcontext():
        leaves = [_detached(leaf) for leaf in leaves_of(results(inputs, model))]
        draws = drew() or (rates is not None and rates.draws)
    return Run(leaves, decisions.made, decisions.lowers_precision, draws)


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, torch.Tensor) else leaf


class RatesAtZero(TorchDispatchMode):
    """Lets nothing be left out at random, and notes whether other random numbers are drawn."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws = False

    @override
    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if base_name(func) == "aten::bernoulli" and func._overloadname in ("float", "p"):
            return args[0].fill_(1) if func._schema.is_mutable else torch.ones_like(args[0])
        rate = _rate(func)
        if rate is None:
            self.draws |= torch.Tag.nondeterministic_seeded in func.tags
            return func(*args, **(kwargs or {}))
        index, none = rate
        argument = func._schema.arguments[index]
        if index < len(args) and not argument.kwarg_only:
            args = (*args[:index], none, *args[index + 1 :])
        else:
            kwargs = {**(kwargs or {}), argument.name: none}
        return func(*args, **(kwargs or {}))


_RATES = frozenset({"dropout", "dropout_p"})


@lru_cache
def _rate(func: OpOverload) -> tuple[int, float] | None:
    """Return which argument says how much is left out, and the value that leaves out nothing."""
    name = base_name(func)
    for index, argument in enumerate(func._schema.arguments):
        if argument.name in _RATES or (name, argument.name) == ("aten::native_dropout", "p"):
            return index, 0.0
        if (name, argument.name) == ("aten::_fused_dropout", "p"):
            return index, 1.0  # the share that is kept
    return None


@contextmanager
def _seeded(model: nn.Module, inputs: ExampleInputs, seed: int) -> Iterator[Callable[[], bool]]:
    """Seed every generator; yield whether those of Python and numpy were used."""
    devices = {tensor.device for tensor in [*model.parameters(), *inputs.tensors]}
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with seeded(seed, devices):
            random.seed(seed)
            np.random.seed(seed)
            fresh = _host_states()
            yield lambda: _host_states() != fresh
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def _host_states() -> list[Any]:
    state = np.random.get_state()
    return [random.getstate(), state[1].tobytes(), *state[2:]]  # type: ignore[index]
