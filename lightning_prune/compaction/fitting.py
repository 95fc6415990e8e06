"""Fitting: may the plan of a file be applied to this model? Nothing is changed here.

A plan from a file is trusted with nothing: it may cut tensors of the recorded sizes, change sizes
that the model's own code passes as sizes, swap torch's layers for ours, and correct calls of torch
in methods that ``forward`` reaches. Everything else is refused.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_prune.compaction.compact_file import Stored
from lightning_prune.compaction.completion import GROUP_ATTRIBUTES
from lightning_prune.compaction.packing import Packed
from lightning_prune.compaction.plan import Attribute, Cut, Plan, Size, SizeChange
from lightning_prune.compaction.records import plan_of
from lightning_prune.compaction.repair.comparisons import compared_attributes
from lightning_prune.compaction.rewriting import Edit, edits_of, rewritten
from lightning_prune.compaction.rewriting.reach import Reach
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.callees import callees_of
from lightning_prune.runtime.corrections import ReadRows, Resize
from lightning_prune.units.group import Axis


def tensors_of(model: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """Return the tensors of a model that belong into a file, under each of their names.

    Args:
        model: any module.
        plan: what has become of it, or is to become.

    Returns:
        Parameters and buffers; of those that no state dict holds only what the plan cuts.
    """
    cut = {axis.tensor for axis in plan.axes}
    found: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    for name, module in model.named_modules(remove_duplicate=False):
        for buffer, tensor in module._buffers.items():
            full_name = f"{name}.{buffer}".lstrip(".")
            is_kept = buffer not in module._non_persistent_buffers_set or full_name in cut
            if tensor is not None and is_kept:
                found[full_name] = tensor
    return found


class Fitting:
    """Holds a plan and stored tensors against a model.

    Args:
        model: of full size.
        plan: what is to become of it.
        stored: the tensors that it is to hold then, by name.
    """

    def __init__(self, model: nn.Module, plan: Plan, stored: Mapping[str, Stored]) -> None:
        self._model = model
        self._plan = plan
        self._stored = stored
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
        self._tensors |= dict(model.named_buffers(remove_duplicate=False))
        self._reach = Reach(model, ("forward", *plan.methods))

    def require(self) -> None:
        """Require that everything fits.

        Raises:
            ValueError: if anything does not; it says what.
        """
        if plan_of(self._model) != Plan():
            raise self._misfit("a model that is compact already")
        self._require_names()
        self._require_axes()
        self._require_tensors()
        for name, swap in self._plan.swaps.items():
            if not swap.fits_full_size(self._modules[name]):
                raise self._misfit(f"{swap}, which does not fit {name or 'the model'}")
        for attribute, change in self._plan.attributes.items():
            self._require_attribute(attribute, change)
        for name in self._plan.edits:
            self._require_edits(name)

    def _misfit(self, found: str) -> ValueError:
        return ValueError(
            f"Expected `model` to be a {type(self._model).__name__} of the size that was pruned, "
            f"but got {found}. Build the model with the arguments that it had before pruning."
        )

    def _require_names(self) -> None:
        plan, own = self._plan, tensors_of(self._model, self._plan)
        modules = [*(a.module for a in plan.attributes), *plan.swaps, *plan.edits]
        unknown = sorted(self._stored.keys() - own.keys())
        unknown += [name for name in dict.fromkeys(modules) if name not in self._modules]
        cut = [*(axis.tensor for axis in plan.axes), *plan.frozen]
        unknown += [name for name in dict.fromkeys(cut) if name not in self._tensors]
        problems = {
            "tensors that the file lacks": sorted(own.keys() - self._stored.keys()),
            "tensors that the model lacks": unknown,
        }
        found = "; ".join(f"{what}: {', '.join(n[:5])}" for what, n in problems.items() if n)
        if found:
            raise self._misfit(found)

    def _require_axes(self) -> None:
        cuts: dict[tuple[int, int], object] = {}
        for axis, cut in self._plan.axes.items():
            tensor = self._tensors[axis.tensor]
            if axis.dim >= tensor.dim() or tensor.shape[axis.dim] != cut.size:
                raise self._misfit(
                    f"{axis.tensor} {tuple(tensor.shape)}, of which {axis} has "
                    f"another size than {cut.size}"
                )
            if cuts.setdefault((id(tensor), axis.dim), cut) != cut:
                raise self._misfit(f"one tensor for {axis.tensor} and another, cut differently")
        for name in self._plan.frozen:
            if self._tensors[name].dim():
                raise self._misfit(f"{name}, which is more than a single number")

    def _require_tensors(self) -> None:
        first: dict[int, str] = {}
        # A tensor of several names may be cut under one of them.
        cuts = {(id(self._tensors[a.tensor]), a.dim): cut for a, cut in self._plan.axes.items()}
        for name, tensor in tensors_of(self._model, self._plan).items():
            stored, shape = self._stored[name], list(tensor.shape)
            for dim in range(len(shape)):
                cut = cuts.get((id(tensor), dim))
                shape[dim] = shape[dim] if cut is None else len(cut.kept)
            if list(stored.shape) != shape:
                raise self._misfit(
                    f"shapes that do not fit: {name} {tuple(stored.shape)} for {tuple(shape)}"
                )
            if stored.dtype != tensor.dtype or tensor.is_meta:
                found = "without memory" if tensor.is_meta else f"in {tensor.dtype}"
                raise ValueError(
                    f"Expected `model` to hold {name} in {stored.dtype}, as the file does, but got "
                    f"one {found}. Bring the model to that type, and to a device, before loading."
                )
            same = self._stored[first.setdefault(id(tensor), name)]
            if same is not stored and not _identical(same, stored):
                raise self._misfit(f"one tensor for {name} and another, which differ in the file")

    def _require_attribute(self, attribute: Attribute, change: SizeChange) -> None:
        module = self._modules[attribute.module]
        shown = ".".join(filter(None, attribute))
        found = vars(module).get(attribute.name, getattr(type(module), attribute.name, None))
        if type(found) is not type(change.before) or found != change.before:
            raise self._misfit(f"{shown} = {found!r} instead of {change.before!r}")
        if not _shrinks(change.before, change.after):
            raise self._misfit(f"{shown} = {change.after!r} in the file, which does not fit")
        if attribute.name in GROUP_ATTRIBUTES:
            cut = self._plan.axes.get(Axis(f"{attribute.module}.weight".lstrip("."), 0))
            if cut is not None and (not cut.kept or _is_same_share(change, cut)):
                return  # of a layer that was emptied later, its groups were cut before
        if attribute.name not in self._passed_sizes(attribute.module):
            raise self._misfit(f"{shown}, which its code does not pass as a size")

    def _passed_sizes(self, name: str) -> set[str]:
        """Return the attributes that a module's methods pass as sizes, or hold against some."""
        found: set[str] = set()
        for source in self._reach.sources(self._kind(name)):
            owner = source.function.__code__.co_varnames[0]
            found |= set(compared_attributes(source.tree, owner))
            for node in ast.walk(source.tree):
                called = getattr(node, "func", None)
                word = getattr(called, "attr", getattr(called, "id", ""))
                if isinstance(node, ast.Call) and word.rstrip("_") in Resize.calls:
                    found |= {
                        part.attr
                        for argument in node.args
                        for part in ast.walk(argument)
                        if isinstance(part, ast.Attribute)
                        and isinstance(part.value, ast.Name)
                        and part.value.id == owner
                    }
        return found

    def _kind(self, name: str) -> type:
        """Return the class whose methods a module runs after its swap."""
        module, swap = self._modules[name], self._plan.swaps.get(name)
        return edits_of(type(module))[0] if swap is None else swap.class_for(module)

    def _is_emptied(self, name: str) -> bool:
        """Tell whether some parameter of a module has nothing left."""
        gone = {*self._plan.emptied, *self._plan.frozen}
        return any(f"{one}.".startswith(f"{name}.") for one in gone)

    def _require_whole(self, name: str, edit: Edit) -> None:
        """Require that a correction of a whole method is about what the plan cuts."""
        if isinstance(edit.correction, ReadRows):
            cut = Cut(edit.correction.kept, edit.correction.size)
            tables = [f"{name}.{table}".lstrip(".") for table in edit.correction.tables]
            if edit.path or any(self._plan.axes.get(Axis(table, 0)) != cut for table in tables):
                raise self._misfit(f"{', '.join(tables)}, of which other rows are left")
        elif not edit.path and not self._is_emptied(name):
            found = f"{name or 'all'}, which is to do nothing, but keeps its parameters"
            raise self._misfit(found)

    def _require_edits(self, name: str) -> None:
        kind, edits = self._kind(name), self._plan.edits[name]
        for edit in edits:
            self._require_whole(name, edit)
            if not self._reach.has(kind, edit.method):
                raise self._misfit(f"{kind.__qualname__}.{edit.method}, which forward does not run")
        try:
            rewritten(kind, edits, callees_of(self._modules[name]))
        except RewriteError as error:
            raise ValueError(
                f"Expected `model` to have the source of the model that was saved, but {error}. "
                "Use the version of the code that it was compacted with."
            ) from error


def _shrinks(before: Size, after: Size) -> bool:
    if isinstance(before, int) or isinstance(after, int):
        return isinstance(before, int) and isinstance(after, int) and after <= before
    return len(before) == len(after) and all(b <= a for a, b in zip(before, after, strict=True))


def _is_same_share(change: SizeChange, cut: Cut) -> bool:
    """Tell whether just so many groups are left, each with as many positions as the others."""
    before, after = change.before, change.after
    if not isinstance(before, int) or not isinstance(after, int) or cut.size % before:
        return False
    left = Counter(position * before // cut.size for position in cut.kept)
    return len(left) == after and len(set(left.values())) <= 1


def _identical(a: Stored, b: Stored) -> bool:
    if isinstance(a, Packed) or isinstance(b, Packed):
        return isinstance(a, Packed) and isinstance(b, Packed) and a.is_same(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(*(t.contiguous().view(-1).view(torch.uint8) for t in (a, b)))
