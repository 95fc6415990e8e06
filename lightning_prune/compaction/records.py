"""Records: what compaction has changed of each module, kept beside the module itself.

A record is a plan of one module's own tensors, attributes and class. It lives in the module's
dictionary, so that copies and pickles carry it, and any part of a model can be saved by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from torch import Tensor, nn

from lightning_prune.compaction.plan import Plan
from lightning_prune.units.group import Axis

RECORD = "_compaction_plan"
"""The attribute in which a module keeps its record."""


def record_of(module: nn.Module) -> Plan:
    """Return what compaction has changed of a module's own, with names relative to it."""
    found = vars(module).get(RECORD)
    return found if isinstance(found, Plan) else Plan()


def plan_of(model: nn.Module) -> Plan:
    """Return what all compactions so far have changed of a model.

    Args:
        model: a module, compact or not; a part of a compact model is as welcome.

    Returns:
        The plan that brings a model of full size to this one's shapes.
    """
    parts = [record_of(module).below(name) for name, module in model.named_modules()]
    return Plan(
        {axis: cut for part in parts for axis, cut in part.axes.items()},
        {attribute: change for part in parts for attribute, change in part.attributes.items()},
        {name: swap for part in parts for name, swap in part.swaps.items()},
        {name: edits for part in parts for name, edits in part.edits.items()},
        tuple(name for part in parts for name in part.frozen),
        record_of(model).methods,
    )


class Names:
    """The modules and tensors of a model by their names, and the names by the tensors.

    Args:
        model: the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
        self.tensors |= dict(model.named_buffers(remove_duplicate=False))
        self._owners: dict[int, list[tuple[nn.Module, str]]] = defaultdict(list)
        for module in model.modules():
            for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
                self._owners[id(tensor)].append((module, name))

    def parts(self, plan: Plan) -> dict[nn.Module, Plan]:
        """Return what a plan changes of each module, with names relative to it.

        A tensor that several modules share is changed in each.
        """
        parts: dict[nn.Module, Plan] = defaultdict(Plan)
        cuts = {(id(self.tensors[a.tensor]), a.dim): cut for a, cut in plan.axes.items()}
        for (tensor, dim), cut in cuts.items():
            for module, name in self._owners[tensor]:
                parts[module] = parts[module].then(Plan({Axis(name, dim): cut}))
        for tensor in dict.fromkeys(id(self.tensors[name]) for name in plan.frozen):
            for module, name in self._owners[tensor]:
                parts[module] = parts[module].then(Plan(frozen=(name,)))
        for name, part in _by_module(plan):
            module = self._model.get_submodule(name)
            parts[module] = parts[module].then(part)
        return parts


def _by_module(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Return what names modules, with each module's name."""
    if plan.methods:
        yield "", Plan(methods=plan.methods)
    for attribute, change in plan.attributes.items():
        yield attribute.module, Plan(attributes={attribute._replace(module=""): change})
    for name, swap in plan.swaps.items():
        yield name, Plan(swaps={"": swap})
    for name, edits in plan.edits.items():
        yield name, Plan(edits={"": edits})
