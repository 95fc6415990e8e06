"""Surgery: the only code that replaces tensors, sizes and classes of a user's model.

Parameters and buffers keep their identity, their names and their ties; what they hold is cut.
Every change is written down first, so that all of it can be undone, also after an interruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lightning_prune.compaction.interrupts import deferred_interrupts
from lightning_prune.compaction.ledger import Ledger
from lightning_prune.compaction.plan import Attribute, Plan, SizeChange
from lightning_prune.compaction.records import RECORD, Names, record_of
from lightning_prune.compaction.rewriting import Edit, edits_of, joined, own_methods_in, rewritten
from lightning_prune.compaction.sizes import module_sizes
from lightning_prune.errors import RewriteError
from lightning_prune.modules.kernels import flatten_recurrent
from lightning_prune.runtime.callees import callees_of
from lightning_prune.runtime.encoder import TensorSizedEncoder
from lightning_prune.runtime.swaps import SizeByTensors, Swap


class Surgery:
    """Changes to one model that can be undone.

    Args:
        model: the module to change in place.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._ledger = Ledger()

    def mark(self) -> int:
        """Return a mark to which `undo` can go back."""
        return self._ledger.mark()

    def undo(self, to: int = 0) -> None:
        """Take back every change since a mark, the last one first.

        Args:
            to: what `mark` returned; by default the beginning.
        """
        self._ledger.undo(to)

    def apply(self, plan: Plan) -> None:
        """Do what a plan says, and bring the sizes that torch's layers repeat up to date.

        A keyboard interrupt waits until the plan is applied. If anything else goes wrong, the
        model is as it was before.

        Args:
            plan: names tensors and modules of the model.

        Raises:
            RewriteError: if a class cannot be made, or does not fit its module.
        """
        start = self.mark()
        try:
            with deferred_interrupts():
                self._apply(plan, Names(self._model))
        except BaseException:
            self.undo(to=start)
            raise

    def _apply(self, plan: Plan, names: Names) -> None:
        parts = names.parts(plan)
        changed = self._cut(plan, names)
        for name, data in plan.values.items():
            self.replace(names.tensors[name], data)
        self._set_sizes(plan.attributes, changed)
        for name, swap in plan.swaps.items():
            self._swap(self._model.get_submodule(name), swap)
        freed = [name for name, swap in plan.swaps.items() if isinstance(swap, SizeByTensors)]
        self._forbid_nested_tensors(map(self._model.get_submodule, freed))
        for name, edits in plan.edits.items():
            self._rewrite(self._model.get_submodule(name), edits)
        for name in plan.frozen:
            self._ledger.freeze(names.tensors[name])
        for module, part in parts.items():
            self._ledger.set(module, RECORD, record_of(module).then(part))
        if changed:
            flatten_recurrent(self._model)

    def _cut(self, plan: Plan, names: Names) -> set[int]:
        """Cut every axis; return the identities of the tensors that changed."""
        cut: dict[int, Tensor] = {}
        tensors = {id(tensor): tensor for tensor in names.tensors.values()}
        # A tensor may have several names.
        positions = {(id(names.tensors[a.tensor]), a.dim): kept for a, kept in plan.kept.items()}
        with torch.no_grad():
            for (key, dim), kept in positions.items():
                data = cut.get(key, tensors[key].data)
                cut[key] = data.index_select(dim, kept.to(data.device))
        for key, data in cut.items():
            self.replace(tensors[key], data)
        return set(cut)

    def _set_sizes(self, attributes: Mapping[Attribute, SizeChange], changed: set[int]) -> None:
        for attribute, change in attributes.items():
            module = self._model.get_submodule(attribute.module)
            self._ledger.set(module, attribute.name, change.after)
        for module in self._model.modules():
            own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            sizes = {} if changed.isdisjoint(map(id, own)) else module_sizes(module)
            for name, size in sizes.items():
                if name in vars(module):  # else its class computes it
                    self._ledger.set(module, name, size)

    def _swap(self, module: nn.Module, swap: Swap) -> None:
        if not swap.fits(module):
            raise RewriteError(f"{swap} does not fit {type(module).__name__}")
        kind = swap.class_for(module)
        for name, value in swap.attributes.items():
            self._ledger.set(module, name, value)
        self._set_class(module, kind)

    def _forbid_nested_tensors(self, attentions: Iterable[nn.Module]) -> None:
        """Let no encoder of another class hand its layers nested tensors, for a fused kernel."""
        freed = set(attentions)
        for owner in self._model.modules():
            is_encoder = isinstance(owner, nn.TransformerEncoder)
            is_other = is_encoder and not isinstance(owner, TensorSizedEncoder)
            if is_other and not freed.isdisjoint(owner.modules()):
                self._ledger.set(owner, "use_nested_tensor", False)

    def _rewrite(self, module: nn.Module, edits: tuple[Edit, ...]) -> None:
        kind, before = edits_of(type(module))
        own = own_methods_in(module)
        callees = tuple(
            (n, getattr(kind, own[n]) if n in own else f) for n, f in callees_of(module)
        )
        self._set_class(module, rewritten(kind, joined(before, edits), callees))
        for name, method in own.items():
            self._ledger.set(module, name, getattr(module, method))

    def _set_class(self, module: nn.Module, kind: type[nn.Module]) -> None:
        try:
            self._ledger.set_class(module, kind)
        except TypeError as error:  # slots, or a class of another layout
            raise RewriteError(
                f"{type(module).__name__} cannot change its class: {error}"
            ) from error

    def replace(self, tensor: Tensor, data: Tensor) -> None:
        """Let ``tensor`` hold ``data`` from now on; its gradient is dropped.

        What is empty asks for no gradient any more: there is none to wait for.

        Args:
            tensor: a parameter or buffer of the model.
            data: what it is to hold.
        """
        self._ledger.replace(tensor, data)
