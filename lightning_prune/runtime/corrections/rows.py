"""Rows: a module that computes with tables of experts of which only some are left.

Every expert that was taken out was zero. While ``forward`` runs, a table reads as it did in full
size: a picked row that is gone is zeros, and a product in groups gives zeros for its rows. That
holds for each read by itself, so it does not matter how the code around it chooses. What cannot be
read so is an error, never another row.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from typing_extensions import override

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections.base import Correction, are_sizes, is_size, misfit, require


@dataclass(frozen=True)
class ReadRows(Correction):
    """Run ``forward`` as if the tables of its module had all of their rows.

    Args:
        tables: names of parameters of the module, which lost the same rows.
        kept: the rows that are left, ascending.
        size: how many rows there were.
    """

    kind: ClassVar[str] = "read_rows"

    tables: tuple[str, ...]
    kept: tuple[int, ...]
    size: int

    def __post_init__(self) -> None:
        names = type(self.tables) is tuple and all(type(name) is str for name in self.tables)
        require(names and bool(self.tables), "tables", "names of parameters", self.tables)
        require(is_size(self.size, 1), "size", "a number of rows", self.size)
        rising = are_sizes(self.kept) and tuple(sorted(set(self.kept))) == self.kept
        holds = rising and bool(self.kept) and self.kept[-1] < self.size
        require(holds, "kept", "ascending rows below `size`", self.kept)

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Refuse: it stands around a whole method."""
        raise misfit(self, node)

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that runs ``forward`` with tables of full size.

        Args:
            forward: the method, which takes the module first.
        """

        @functools.wraps(forward)
        def method(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            with _Tables([getattr(module, name) for name in self.tables], self.kept, self.size):
                return forward(module, *args, **kwargs)

        # Behind a break of its graph, `torch.compile` would not know the tables any more.
        return torch.compiler.disable(method)  # type: ignore[no-any-return]

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep of the rows that are left those that the later one keeps."""
        if not isinstance(later, ReadRows) or later.tables != self.tables:
            return None
        if later.size != len(self.kept):
            return None
        return ReadRows(self.tables, tuple(self.kept[row] for row in later.kept), self.size)


class _Tables(TorchFunctionMode):
    """Lets some tensors, and what is made of them row by row, read as in full size.

    Args:
        tables: the tensors, of the rows that are left.
        kept: which rows these are.
        size: how many there were.
    """

    def __init__(self, tables: Sequence[Tensor], kept: Sequence[int], size: int) -> None:
        super().__init__()
        self._tables = list(tables)
        self._kept = kept
        self._places = [kept.index(row) if row in kept else -1 for row in range(size)]

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not any(map(self._is_table, tree_leaves((args, kwargs)))):
            return func(*args, **kwargs)
        name = _name_of(func)
        if name in _PLAIN:
            return func(*args, **kwargs)
        is_first = bool(args) and self._is_table(args[0])
        if is_first and name in _READS:
            return _READS[name](self, *args, **kwargs)
        if is_first and _is_by_row(name, args[0].dim(), [*args[1:], *kwargs.values()]):
            self._tables.append(func(*args, **kwargs))
            return self._tables[-1]
        if name in _GROUPED and not is_first:
            return self._grouped(func, *args, **kwargs)
        raise RewriteError(
            f"Expected the experts that are left to be read by their index or in a grouped "
            f"product, but got {name}. Load the model in full size for that."
        )

    def _is_table(self, value: Any) -> bool:
        return isinstance(value, Tensor) and any(value is table for table in self._tables)

    def shape(self, table: Tensor) -> torch.Size:
        """Return the shape in full size."""
        return torch.Size([len(self._places), *table.shape[1:]])

    def size(self, table: Tensor, dim: int | None = None) -> Any:
        """Return a size in full size, or all."""
        return self.shape(table) if dim is None else self.shape(table)[dim]

    def count(self, table: Tensor) -> int:
        """Return the number of rows in full size."""
        return len(self._places)

    def item(self, table: Tensor, index: Any) -> Tensor:
        """Return the rows that an index in brackets picks."""
        first, *others = index if isinstance(index, tuple) else (index,)
        if any(other is not Ellipsis and other != slice(None) for other in others):
            raise RewriteError("Expected experts to be picked whole, but got a part of some.")
        return self.pick(table, 0, first)

    def pick(self, table: Tensor, dim: int, index: Any) -> Tensor:
        """Return the rows that a number, or a tensor of numbers, picks."""
        if type(index) is int and dim % table.dim() == 0:
            place = self._places[index]
            return table[place] if place >= 0 else torch.zeros_like(table[0])
        is_mask = not isinstance(index, Tensor) or index.dtype in {torch.bool, torch.uint8}
        if is_mask or dim % table.dim():
            raise RewriteError("Expected experts to be picked by number, but got another index.")
        places = torch.tensor(self._places, device=index.device)[index]
        gone = (places < 0).reshape(*index.shape, *[1] * (table.dim() - 1))
        return table[places.clamp(min=0)].masked_fill(gone, 0)

    def _grouped(
        self, func: Any, rows: Tensor, table: Tensor, offs: Tensor, **others: Any
    ) -> Tensor:
        """Return a product in groups: the groups that are left first, then zeros, in order."""
        places = torch.tensor([*self._places, -1], device=rows.device)
        numbers = torch.arange(rows.shape[0], device=rows.device, dtype=offs.dtype)
        gone = places[torch.searchsorted(offs, numbers, right=True)] < 0
        order = torch.argsort(gone.to(torch.uint8), stable=True)
        behind = gone[order].unsqueeze(1)
        counts = offs.diff(prepend=offs.new_zeros(1))[torch.tensor(self._kept, device=rows.device)]
        # The kernel leaves what stands behind the last group as it finds it, also in gradients.
        given = rows[order].masked_fill(behind, 0)
        found: Tensor = func(given, table, offs=counts.cumsum(0, dtype=offs.dtype), **others)
        return found.masked_fill(behind, 0)[order.argsort()]


def reads_rows(func: Any) -> bool:
    """Tell whether a function of a table may tell its rows, or how many there are."""
    return _name_of(func) not in {*_PLAIN, "grad"}


def _name_of(func: Any) -> str:
    """Return the name of a function, or of the property that is read or set."""
    name = str(getattr(func, "__name__", func))
    is_property = name in {"__get__", "__set__"}
    return str(getattr(func.__self__, "__name__", name)) if is_property else name


def _is_by_row(name: str, rank: int, args: Sequence[Any]) -> bool:
    """Tell whether a function makes each row of its result of the same row of a table."""
    if name == "mT":
        return rank > 2
    if name in {"transpose", "swapaxes", "swapdims"}:
        return all(dim % rank for dim in args)
    return name in _BY_ROW


_BY_ROW = frozenset("to type type_as float half bfloat16 double contiguous detach clone".split())

_PLAIN = frozenset(
    "device dtype ndim dim layout requires_grad is_cuda is_cpu is_meta is_floating_point "
    "is_complex is_contiguous data_ptr element_size get_device stride".split()
)
"""What does not depend on the number of rows."""

_GROUPED = frozenset({"grouped_mm", "_grouped_mm", "grouped_mm_fallback"})

_READS: Mapping[str, Callable[..., Any]] = {
    "shape": _Tables.shape,
    "size": _Tables.size,
    "__len__": _Tables.count,
    "__getitem__": _Tables.item,
    "index_select": _Tables.pick,
    "select": _Tables.pick,
}
