"""Steps: the methods of a LightningModule that a Trainer calls with a batch, as further examples.

What a step reads beside ``forward`` (an auxiliary head, a hidden feature, the weight of an
embedding) is then coupled and verified like the rest. Steps run on copies only, in isolation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from typing_extensions import override

from lightning_prune.callbacks.trainer.isolation import isolated
from lightning_prune.compaction.verification.runs import RatesAtZero
from lightning_prune.coupling.modes import in_mode, prepare_training
from lightning_prune.coupling.record import record
from lightning_prune.coupling.rules import RULES
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.nesting import tensors_in

STEPS = ("training_step", "validation_step", "predict_step")


@dataclass(frozen=True)
class StepCall(ExampleInputs):
    """A call of a step; what it returns are the tensors that the step returns and logs.

    Args:
        hooked: whether the hooks of the module before and after a batch of the training run, too.
        trains: whether it needs train mode; in place of eval mode, it then gets a train mode
            without batch statistics and dropout.
        watch: called when the step has run, before its parameters are as before; None for nothing.
    """

    hooked: bool = False
    trains: bool = False
    watch: Callable[[], None] | None = None

    @override
    def __call__(self, model: nn.Module) -> list[Tensor]:
        """Run the step on a copy of the module, whose parameters stay as they are."""
        return tensors_in(self._run(model))

    def loss(self, model: nn.Module) -> Tensor:
        """Return the loss of the step on a copy of the module.

        Args:
            model: the copy, whose parameters stay as they are.

        Raises:
            ValueError: if it returns none.
        """
        output = self._run(model)[0]
        loss = output.get("loss") if isinstance(output, Mapping) else output
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ValueError(
                f"Expected `{self.method}` to return a loss, by which candidates are compared, but "
                f"got {type(output).__name__}. Return a scalar tensor, or a dict with 'loss'."
            )
        return loss

    def _run(self, model: nn.Module) -> list[Any]:
        """Run the step; return what it returns, and what it logs."""
        mode = _train_mode(model) if self.trains and not model.training else nullcontext()
        with isolated(model) as logged, mode:
            if self.hooked:
                ExampleInputs((*self.args[:1], 0), method="on_train_batch_start")(model)
            output = super().__call__(model)
            if self.hooked:
                results = output if isinstance(output, Mapping) else {"loss": output}
                ExampleInputs((results, *self.args[:1], 0), method="on_train_batch_end")(model)
            if self.watch is not None:
                self.watch()
            return [output, logged]


@dataclass(frozen=True)
class RecordedSteps:
    """What came of recording the steps of a module.

    Args:
        examples: the calls that can be recorded.
        forward: the arguments of the first call of ``forward`` in any of them, None if there was
            none.
        failures: why others cannot be recorded, by name.
        averaged: names of the frozen parameters that a step changes by itself, as it does with
            those of a momentum teacher.
        done: the operations of each of the calls.
    """

    examples: tuple[StepCall, ...] = ()
    forward: ExampleInputs | None = None
    failures: dict[str, str] = field(default_factory=dict)
    averaged: frozenset[str] = frozenset()
    done: tuple[list[Any], ...] = ()


def try_steps(pl_module: L.LightningModule, batch: Any) -> RecordedSteps:
    """Record every step that the module defines once, to know which can be.

    All are given the batch of the training: a step that takes another kind of batch is left out,
    and so is one that does the very same as an earlier one.

    Args:
        pl_module: the module; copies of it run in eval mode.
        batch: a batch of the training data.

    Returns:
        The steps that can be recorded, with what was learnt on the way.
    """
    found = RecordedSteps()
    for name in filter(lambda name: _defines(pl_module, name), STEPS):
        if name == "training_step" and not pl_module.automatic_optimization:
            found = replace(found, failures={name: "it optimizes manually"})
        else:
            found = _try_ways(pl_module, _call(pl_module, name, batch), found)
    return found


def _defines(pl_module: L.LightningModule, name: str) -> bool:
    """Tell whether the user's own class has a step."""
    owner = next((base for base in type(pl_module).__mro__ if name in vars(base)), None)
    return owner is not None and owner.__name__ != "LightningModule"


def _call(pl_module: L.LightningModule, name: str, batch: Any) -> StepCall:
    """Return a step with as many indices behind the batch as it asks for."""
    signature = inspect.signature(getattr(pl_module, name))
    for args in ((batch, 0), (batch,), (batch, 0, 0)):
        try:
            signature.bind(*args)
        except TypeError:
            continue
        break
    return StepCall(args, method=name, measured=False)


def _try_ways(pl_module: L.LightningModule, step: StepCall, found: RecordedSteps) -> RecordedSteps:
    """Record one step in the first way that works."""
    if step.method != "training_step":
        return _try(pl_module, step, found)
    ways = [step, replace(step, trains=True)]
    if any(_defines(pl_module, name) for name in ("on_train_batch_start", "on_train_batch_end")):
        ways = [*(replace(way, hooked=True) for way in ways), *ways]
    for way in ways:
        found = _try(pl_module, way, replace(found, failures={}))
        if not found.failures:
            break
    return found


def _try(pl_module: L.LightningModule, step: StepCall, found: RecordedSteps) -> RecordedSteps:
    """Record one step, and add what came of it."""
    copied = in_mode(pl_module, False)
    frozen = {name: p for name, p in copied.named_parameters() if not p.requires_grad}
    for parameter in frozen.values():  # else an average of equal weights would change nothing
        if parameter.is_floating_point():
            parameter.data = parameter.data * 1.01 + 0.001
    before = {name: parameter.data for name, parameter in frozen.items()}
    averaged: set[str] = set()

    def watch() -> None:
        averaged.update(n for n, p in frozen.items() if not torch.equal(p.data, before[n]))

    calls = _calls_of_forward(copied)
    try:
        done = run(copied, replace(step, watch=watch))
    except ExampleInputsError as error:
        failure = f"{type(error.__cause__).__name__}: {error.__cause__}"
        found = replace(found, failures=found.failures | {step.method: failure})
    else:
        if done not in found.done:
            found = replace(found, examples=(*found.examples, step), done=(*found.done, done))
    first = found.forward or next((call for call in calls if call.tensors), None)
    return replace(found, forward=first, averaged=found.averaged | averaged)


def run(copied: nn.Module, example: ExampleInputs) -> list[Any]:
    """Run a copy of a module in the way in which it is recorded.

    Args:
        copied: the copy.
        example: what it is called with.

    Returns:
        The operations; two calls with the same ones do the same.

    Raises:
        ExampleInputsError: if it does not run.
    """
    devices = list({p.device for p in copied.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        graph = record(copied, example.on(copied), RULES.__contains__)
    return [graph.values, [(n.op, n.args, n.kwargs, n.outputs) for n in graph], graph.outputs]


def _calls_of_forward(copied: nn.Module) -> list[ExampleInputs]:
    """Return a list to which the arguments of the first call of ``forward`` will be added."""
    calls: list[ExampleInputs] = []
    forward = copied.forward

    def remember(*args: Any, **kwargs: Any) -> Any:
        if not calls:
            with _disable_current_modes(), torch.inference_mode(False):
                calls.append(ExampleInputs(args, kwargs).map(lambda t: t.detach().clone()))
        return forward(*args, **kwargs)

    vars(copied)["forward"] = remember
    return calls


@contextmanager
def _train_mode(copied: nn.Module) -> Iterator[None]:
    """Put a module in train mode, but for what makes numbers depend on the batch or on chance."""
    modes = [(module, module.training) for module in copied.modules()]
    prepare_training(copied)
    try:
        with RatesAtZero():
            yield
    finally:
        for module, training in modes:
            module.training = training
