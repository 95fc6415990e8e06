"""Layers: what every module of a model holds, and what it costs by itself.

Multiply-adds and milliseconds of a module are those between its hooks, less those of the modules
inside of it; so all of them add up to the model's. Hooks cost time themselves, and where a device
works on its own it is waited for at every hook: the milliseconds compare layers with one another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from lightning_prune.measure.macs import counting
from lightning_prune.measure.turns import take_turns
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import clone
from lightning_prune.report.content import LayerRow

_Cost = TypeVar("_Cost", int, float)


class _Meter:
    """Adds up what a reading grows by between the hooks of modules.

    Args:
        model: whose modules get hooks.
        read: returns the reading.

    Attributes:
        own: by module, what its part of the last run was.
    """

    def __init__(self, model: nn.Module, read: Callable[[], float]) -> None:
        self.own: dict[str, float] = {}
        self._read, self._inside, self._since = read, [""], 0.0
        for name, module in model.named_modules():
            if name:
                module.register_forward_pre_hook(lambda *_, name=name: self._move(name))
                module.register_forward_hook(lambda *_: self._move(None), always_call=True)

    def run(self, call: Callable[[], Any]) -> None:
        """Call something that runs the model, and note every module's part."""
        self.own, self._inside, self._since = {}, [""], self._read()
        call()
        self._move(None)

    def _move(self, into: str | None) -> None:
        """Note what the module that ran took, and go into another one, or back."""
        here, now = self._inside[-1], self._read()
        self.own[here] = self.own.get(here, 0.0) + now - self._since
        if into is None:
            self._inside.pop()
        else:
            self._inside.append(into)
        self._since = self._read()


def macs_by_layer(model: nn.Module, inputs: ExampleInputs) -> dict[str, int]:
    """Count the multiply-adds of every module by itself.

    Args:
        model: any module; it stays as it is.
        inputs: what it is called with.

    Returns:
        By name, what `count_macs` counts for the whole model; the model itself is ``""``.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
    """
    measured = clone(model).eval()
    for parameter in measured.parameters():
        parameter.requires_grad_(False)
    placed = inputs.on(measured).map(torch.clone)
    with counting(placed.tensors) as counter:
        meter = _Meter(measured, counter.get_total_flops)
        meter.run(lambda: placed(measured))
    return {name: round(flops / 2) for name, flops in meter.own.items()}


def ms_by_layer(models: list[nn.Module], inputs: ExampleInputs) -> list[dict[str, float]]:
    """Measure how long every module takes by itself, the models in turns.

    Args:
        models: any modules; they stay as they are.
        inputs: what they are called with.

    Returns:
        For each model the median in ms by name; the model itself is ``""``.

    Raises:
        ExampleInputsError: if a model does not run on the inputs.
    """
    taken: list[list[dict[str, float]]] = [[] for _ in models]
    runs = [_timed_run(model, inputs, to) for model, to in zip(models, taken, strict=True)]
    devices = {tensor.device for model in models for tensor in model.parameters()}
    accelerators = [device for device in devices if device.type != "cpu"]
    rng_type = accelerators[0].type if accelerators else "cuda"
    with torch.random.fork_rng(accelerators, device_type=rng_type), torch.no_grad():
        turns = len(take_turns(runs, warmup_runs=2, min_runs=5, max_seconds=1.0))
    return [_medians(records[-turns:]) for records in taken]


def _timed_run(
    model: nn.Module, inputs: ExampleInputs, taken: list[dict[str, float]]
) -> Callable[[], float]:
    measured = clone(model).eval()
    placed = inputs.on(measured)
    devices = {p.device for p in measured.parameters() if p.device.type != "cpu"}

    def read_ms() -> float:
        for device in devices:
            torch.accelerator.synchronize(device)
        return time.perf_counter() * 1e3

    meter = _Meter(measured, read_ms)

    def run_ms() -> float:
        fresh = placed.map(torch.clone)
        meter.run(lambda: fresh(measured))
        taken.append(meter.own)
        return sum(meter.own.values())

    return run_ms


def _medians(records: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for record in records for name in record)
    return {name: float(np.median([r.get(name, 0.0) for r in records])) for name in names}


def layers_of(
    before: nn.Module,
    after: nn.Module | None = None,
    *,
    macs: tuple[Mapping[str, int], ...] = (),
    ms: tuple[Mapping[str, float], ...] = (),
) -> tuple[LayerRow, ...]:
    """Return a row for each module that has parameters, or costs something by itself.

    Args:
        before: the model in its full size.
        after: the compact one.
        macs: by module, of each model that was counted.
        ms: by module, of each model that was measured.
    """
    small = dict(after.named_modules()) if after is not None else {}
    rows = []
    for name, module in before.named_modules():
        counts = [costs.get(name, 0) for costs in macs]
        times = [costs.get(name, 0.0) for costs in ms]
        if name and not any(counts) and not [*module.parameters(recurse=False)]:
            continue
        left = small.get(name)
        rows.append(
            LayerRow(
                name,
                type(module).__name__,
                shape_before=_shape(module),
                params_before=_elements(module),
                macs_before=_at(counts, 0),
                ms_before=_at(times, 0),
                shape_after=None if left is None else _shape(left),
                params_after=None if left is None else _elements(left),
                macs_after=_at(counts, 1),
                ms_after=_at(times, 1),
            )
        )
    return tuple(rows)


def _at(values: Sequence[_Cost], index: int) -> _Cost | None:
    return values[index] if index < len(values) else None


def _shape(module: nn.Module) -> tuple[int, ...]:
    own = [*module.parameters(recurse=False)]
    return tuple(max(own, key=lambda parameter: parameter.numel()).shape) if own else ()


def _elements(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))
