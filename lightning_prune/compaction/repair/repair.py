"""Repair: bring sizes in attributes and in source up to date with a smaller model's tensors.

A stale size that a call takes from an attribute of its module is changed there; a norm of torch
becomes one that knows its full width; anything else is corrected at its call, in a rewritten class.
Nothing is guessed: which calls are stale, and what they need, follows from the labels. What cannot
be repaired is told with the operation, so that only the groups that pass there need to stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from torch import nn

from lightning_prune.compaction.plan import Attribute, Plan
from lightning_prune.compaction.repair.findings import Broken, Findings
from lightning_prune.compaction.repair.follow import Followed, follow
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.coupling.forecast import Forecast, Trace, Traces
from lightning_prune.errors import RewriteError
from lightning_prune.modules.twin import twin
from lightning_prune.runtime.corrections import PinArguments, TensorOf

_OF_NUMBERS = (PinArguments, TensorOf)


@dataclass(frozen=True)
class Repaired:
    """What a repair did.

    Args:
        plan: what was applied to the model in full size, all together.
        broken: the first operation that still does not fit, None if everything does.
        runs: whether every recording was followed to its end with nothing to correct.
    """

    plan: Plan
    broken: Broken | None = None
    runs: bool = False


class Repair:
    """Makes the calls of a model fit its tensors, after surgery.

    Made before surgery, it learns which numbers differ from run to run for other reasons, and
    leaves them alone.

    Args:
        model: the model in full size.
        traces: recordings of it.
        full: a twin of it, if there is one already.
    """

    def __init__(self, model: nn.Module, traces: Traces, full: nn.Module | None = None) -> None:
        self._model = model
        self._traces = traces
        self._full = twin(model) if full is None else full  # surgery leaves it in full size
        self._before: dict[Trace, Followed] = {}

    def __call__(self, surgery: Surgery, plan: Plan) -> Repaired:
        """Make every call fit.

        Args:
            surgery: what has cut the model; it applies what is found.
            plan: what it has applied.

        Returns:
            The plan with what was found, and the first operation that does not fit, if any.
        """
        forecasts = self._traces.forecasts(plan.kept)
        changed: set[Attribute] = set()
        while True:  # an attribute is looked at once, so this ends
            found = Findings(self._model, changed)
            runs: dict[Trace, Followed] = {}
            broken: list[Broken] = []
            for trace, forecast in forecasts:
                runs[trace] = self._follow(trace, forecast)
                unfit = found.add(trace, runs[trace])
                broken += [unfit] if unfit is not None else []
            if broken and not found.own_attributes():  # with these changed, it may fit
                return Repaired(plan, broken[0])
            if not found.attributes:
                return self._finish(surgery, plan, found, runs)
            more = Plan(attributes=found.own_attributes())
            surgery.apply(more)
            plan = plan.then(more)
            changed |= found.attributes.keys()

    def _finish(
        self, surgery: Surgery, plan: Plan, found: Findings, runs: Mapping[Trace, Followed]
    ) -> Repaired:
        broken = found.settle()
        if broken is not None:
            return Repaired(plan, broken)
        for name, part in found.parts():
            try:
                surgery.apply(part)
                plan = plan.then(part)
            except RewriteError as error:
                return Repaired(plan, found.broken_in(name, str(error)))
        stopped = [trace for trace, run in runs.items() if run.stopped is not None]
        is_right = not (stopped or any(run.stale for run in runs.values()))
        return Repaired(plan, self._still_broken(stopped, plan), is_right)

    def _follow(self, trace: Trace, forecast: Forecast) -> Followed:
        """Follow the smaller model, but leave alone what differs between runs of the full one."""
        run = follow(self._model, trace, forecast)
        if any(isinstance(stale.fix.correction, _OF_NUMBERS) for stale in run.stale):
            varying = {stale.node for stale in self._again(trace).stale}
            stale = tuple(one for one in run.stale if one.node not in varying)
            run = replace(run, stale=stale)
        if run.stopped is not None and trace.training and self._again(trace).stopped is not None:
            run = replace(run, stopped=None)
        return run

    def _again(self, trace: Trace) -> Followed:
        """Return what comes of following the full model."""
        if trace not in self._before:
            forecasts = dict(self._traces.forecasts({}))
            self._before[trace] = follow(self._full, trace, forecasts[trace])
        return self._before[trace]

    def _still_broken(self, stopped: Collection[Trace], plan: Plan) -> Broken | None:
        """Follow once more where a run ended early: a slice that took too much may have ended it.

        Returns:
            The first operation that does not fit with all the corrections in place.
        """
        for trace, forecast in self._traces.forecasts(plan.kept) if stopped else ():
            if trace not in stopped:
                continue
            run = self._follow(trace, forecast)
            if run.stopped is not None:
                return Broken(trace, run.stopped, run.reason)
            if run.stale:
                node = run.stale[0].node
                return Broken(trace, node, f"it is corrected, but not rightly ({node})")
        return None
