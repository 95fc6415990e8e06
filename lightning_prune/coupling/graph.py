"""The recorded graph of one forward pass: values, nodes and their order.

Values are numbered in single-assignment form: an in-place operation yields a new value. The graph
holds shapes and names only; no activation stays alive because of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from types import CodeType
from typing import Any, Literal, NamedTuple

import torch
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves
from typing_extensions import override

from lightning_prune.modules.operations import base_name, written_arguments

Kind = Literal["parameter", "buffer", "input", "activation", "constant"]


@dataclass(frozen=True)
class Ref:
    """A reference to the value with this number."""

    index: int


@dataclass(frozen=True)
class Value:
    """What is known of one tensor.

    Args:
        shape: its sizes.
        dtype: its element type.
        kind: where it comes from.
        name: state-dict name of a parameter or buffer.
        number: what a constant of one element holds.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: Kind
    name: str | None = None
    number: bool | int | float | None = None


class Position(NamedTuple):
    """Where an expression stands in a source file; columns count bytes, as Python's own do."""

    line: int
    end_line: int
    column: int
    end_column: int


@dataclass(frozen=True)
class Frame:
    """A running function, and the expression in it that was being evaluated.

    Args:
        code: of the function.
        position: where the expression stands.
        is_given_module: its first argument is the module whose method has called it.
    """

    code: CodeType
    position: Position
    is_given_module: bool = False


@dataclass(frozen=True)
class Site:
    """Where in the user's source an operation was called.

    Args:
        module: name of the module whose method ran, ``""`` for the root.
        method: the name by which its class knows that method.
        calls: that method first, then the functions that it called, down to the operation.
        caller: where another method of the same module called that method, if one did.
    """

    module: str
    method: str
    calls: tuple[Frame, ...]
    caller: Site | None = None

    @property
    def from_caller(self) -> Site | None:
        """The site as seen from the method that called this one; None if there is none."""
        if self.caller is None:
            return None
        return replace(self.caller, calls=(*self.caller.calls, *self.calls))


_ASSERTIONS = frozenset({"aten::_assert_async", "aten::_functional_assert_async"})
_SIMPLE = frozenset({type(None), bool, int, float, str, torch.dtype, torch.device})


def refs_in(nested: Any) -> list[Ref]:
    """Return every reference in a nesting of arguments, in order."""
    found: list[Ref] = []
    _add_refs(nested, found)
    return found


def _add_refs(nested: Any, found: list[Ref]) -> None:
    kind = type(nested)
    if kind is Ref:
        found.append(nested)
    elif kind in (tuple, list):
        for one in nested:
            _add_refs(one, found)
    elif kind is dict:
        for one in nested.values():
            _add_refs(one, found)
    elif kind not in _SIMPLE:
        found += [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Ref)]


class _Place(NamedTuple):
    """Where an operation takes an argument, and what it takes if none is given."""

    position: int
    has_default: bool
    default: Any


@lru_cache(maxsize=4096)
def _places(op: OpOverload) -> dict[str, _Place]:
    """Return the arguments of an operation by name."""
    places: dict[str, _Place] = {}
    for index, argument in enumerate(op._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        places.setdefault(argument.name, _Place(index, argument.has_default_value(), default))
    return places


@dataclass(frozen=True, eq=False)
class Node:
    """One recorded operation.

    Args:
        op: the ATen overload that ran.
        args: its positional arguments, tensors replaced by references.
        kwargs: its keyword arguments, likewise.
        outputs: what it returned, likewise.
        module: name of the module whose method was running, ``""`` for the root.
        aliases: other values that live in memory which this operation wrote in place.
        line: file and line of the user's code that called it, ``""`` if there is none.
        site: where in the source of that module it was called, None if there is no source.
    """

    op: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any
    module: str
    aliases: tuple[Ref, ...] = ()
    line: str = ""
    site: Site | None = None

    @cached_property
    def name(self) -> str:
        """Name of the operation without overload and in-place mark, such as ``aten::relu``."""
        return base_name(self.op)

    @cached_property
    def inputs(self) -> list[Ref]:
        """References among the arguments, in order; not to be changed."""
        return refs_in((self.args, self.kwargs))

    @cached_property
    def results(self) -> list[Ref]:
        """References among the outputs, in order; not to be changed."""
        return refs_in(self.outputs)

    @cached_property
    def writes(self) -> bool:
        """Whether the operation writes into one of its arguments."""
        return bool(written_arguments(self.op))

    @cached_property
    def hands_over(self) -> bool:
        """Whether it hands Python numbers of its inputs, or a size that follows from them."""
        is_number = not self.results and not self.writes and self.name not in _ASSERTIONS
        return is_number or torch.Tag.dynamic_output_shape in self.op.tags

    def argument(self, name: str, default: Any = None) -> Any:
        """Return the argument that the operation's schema calls ``name``.

        Args:
            name: as in the schema.
            default: returned when the schema has no such argument or gives it no default.

        Returns:
            The argument passed, else the schema's default, else ``default``.
        """
        if name in self.kwargs:
            return self.kwargs[name]
        found = _places(self.op).get(name)
        if found is None:
            return default
        if found.position < len(self.args):
            return self.args[found.position]
        return found.default if found.has_default else default

    @override
    def __str__(self) -> str:
        where = f", {self.line}" if self.line else ""
        return f"{self.name} in {self.module or 'the root module'}{where}"


@dataclass(frozen=True, eq=False)
class Graph:
    """Everything that one forward pass did.

    Args:
        values: by number.
        nodes: in the order in which they ran.
        inputs: the model's input tensors.
        outputs: the tensors that the model returned.
    """

    values: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    inputs: list[Ref] = field(default_factory=list)
    outputs: list[Ref] = field(default_factory=list)

    def discarded(self) -> set[int]:
        """Return the positions of nodes whose results are never used.

        Like the attention weights that a module returns to a caller that drops them. What is
        written in place, handed to Python, or as large as data make it, which Python may ask for,
        counts as used.
        """
        used = set(self.outputs)
        unused = set()
        for position in reversed(range(len(self.nodes))):
            node = self.nodes[position]
            is_asked_for = not node.results or node.writes or node.hands_over
            if used.isdisjoint(node.results) and not is_asked_for:
                unused.add(position)
            else:
                used.update(node.inputs)
        return unused

    def is_same(self, other: Graph) -> bool:
        """Tell whether another recording did the very same, called from the same places."""
        return (
            (self.values, self.inputs, self.outputs) == (other.values, other.inputs, other.outputs)
            and len(self.nodes) == len(other.nodes)
            and all(map(_are_same, self.nodes, other.nodes))
        )

    def __getitem__(self, ref: Ref) -> Value:
        return self.values[ref.index]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)


def _are_same(one: Node, other: Node) -> bool:
    places = [(n.op, n.module, n.aliases, n.line, n.site) for n in (one, other)]
    # As texts: numbers that are equal may be of different types.
    taken = [repr((n.args, n.kwargs, n.outputs)) for n in (one, other)]
    return places[0] == places[1] and taken[0] == taken[1]
