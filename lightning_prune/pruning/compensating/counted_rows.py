"""Rows that count: those of a product that what a model returns depends on.

Positions that a mask hides, as the padding of sentences, are computed like all others, but nothing
reads them: a reader that returns something else there is as good. A row is left out only where it
is seen to have no effect: what the model returns has no gradient there, and is bit for bit the
same with other values in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.modules.kernels import differentiable
from lightning_prune.modules.nesting import tensors_in
from lightning_prune.modules.seeding import seeded
from lightning_prune.modules.twin import twin
from lightning_prune.pruning.compensating.linear_maps import MatrixProduct
from lightning_prune.pruning.compensating.norms import Run
from lightning_prune.pruning.compensating.products import Products, SeenProduct, WeightView

_SAVED = {"AddmmBackward0": "_saved_mat2", "MmBackward0": "_saved_mat2"}
"""Where autograd keeps the weight of a product, by the name of its node."""

Rows = Mapping[WeightView, Sequence[Tensor]]
"""Booleans of shape ``[rows]`` for every call of a product, by its weight; ``True`` = counts."""


class CountedRows:
    """The rows that count in a run, as its products are reached one after the other.

    Args:
        rows: for every call; of a call that it lacks, all rows count.
    """

    def __init__(self, rows: Rows) -> None:
        self._left = {view: iter(masks) for view, masks in rows.items()}

    def next(self, view: WeightView) -> Tensor | None:
        """Return which rows count in the next call with a weight, ``None`` = all do."""
        return next(self._left.get(view, iter(())), None)


def rows_that_count(model: nn.Module, names: Collection[str], runs: Sequence[Run]) -> list[Rows]:
    """Return which rows of products count, for each run.

    It takes three forward passes on each batch, and a backward pass, whose memory is that of a
    training on one batch. Nothing is looked for in a model whose products of matrices have a row
    for each example, nor in convolutions.

    Args:
        model: in eval mode; it stays as it is.
        names: of the weights.
        runs: run a model on the calibration data.

    Returns:
        For each run the rows of those calls of which some do not count.
    """
    found: list[Rows] = []
    for run in runs:
        with seeded(0, {parameter.device for parameter in model.parameters()}):
            counted = _rows_of(model, names, run)
        if counted is None:
            return [{} for _ in runs]
        found.append(counted)
    return found


def _rows_of(model: nn.Module, names: Collection[str], run: Run) -> Rows | None:
    """Return the rows that count in one run, ``None`` if there is one for each example."""
    copied, examples = twin(model), list[int]()
    hooks = [m.register_forward_pre_hook(_count_examples(examples)) for m in copied.modules()]
    calls: dict[WeightView, list[int]] = {}
    expected = _returned(copied, names, run, calls)
    for hook in hooks:
        hook.remove()
    if not examples or all(n <= examples[0] for counts in calls.values() for n in counts):
        return None
    rows = _rows_with_gradient(model, names, run, calls)
    hidden = {view: masks for view, masks in rows.items() if not all(m.all() for m in masks)}
    if not hidden:
        return {}
    got = _returned(twin(model), names, run, {}, hidden)
    same = len(got) == len(expected) and all(map(torch.equal, got, expected))
    return hidden if same else {}


def _count_examples(examples: list[int]) -> Any:
    """Return a hook that notes how many examples a module reads."""

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        first = next((t for t in tensors_in(args) if t.dim()), None)
        if first is not None:
            examples.append(first.shape[0])

    return note


def _returned(
    model: nn.Module,
    names: Collection[str],
    run: Run,
    calls: dict[WeightView, list[int]],
    hidden: Rows | None = None,
) -> list[Tensor]:
    """Return the tensors that a run returns.

    Args:
        model: runs.
        names: of the weights.
        run: runs it.
        calls: where to note how many rows each product of matrices has.
        hidden: rows that get other values, where they do not count.
    """
    rows = CountedRows(hidden or {})

    def see(call: SeenProduct) -> bool:
        if isinstance(call.linear_map, MatrixProduct):
            calls.setdefault(call.view, []).append(len(call.outputs))
        counts = rows.next(call.view)
        if counts is not None:
            call.outputs[~counts] = 1 - 2 * call.outputs[~counts]
        return False

    with torch.no_grad(), Products(model, names, see):
        return tensors_in(run(model))


def _rows_with_gradient(
    model: nn.Module,
    names: Collection[str],
    run: Run,
    calls: Mapping[WeightView, Sequence[int]],
) -> Rows:
    """Return which rows of products have a gradient, in the order of the calls.

    Args:
        model: as it is.
        names: of the weights.
        run: runs it.
        calls: how many rows each product of matrices has.

    Returns:
        The rows by weight; without those weights whose gradients cannot be told.
    """
    copied = twin(model)
    for parameter in copied.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    found: dict[WeightView, dict[int, Tensor]] = {}
    try:
        with torch.enable_grad(), differentiable(copied):
            returned = [t for t in tensors_in(run(copied)) if t.requires_grad]
            products = Products(copied, names, lambda call: False)
            for node in _nodes(returned):
                saved = _SAVED.get(node.name())
                view = None if saved is None else products.view(getattr(node, saved))
                if view is not None:
                    node.register_prehook(_note_rows(found.setdefault(view, {}), node))
            generator = torch.Generator().manual_seed(0)
            torch.autograd.backward(
                returned,
                [torch.randn(t.shape, generator=generator).to(t) for t in returned],
            )
    except RuntimeError:  # it has no gradients, as of what it writes in place: all rows count
        return {}
    rows = {view: [noted[n] for n in sorted(noted)] for view, noted in found.items()}
    return {view: m for view, m in rows.items() if list(map(len, m)) == calls.get(view)}


def _note_rows(noted: dict[int, Tensor], node: Any) -> Any:
    """Return a hook that notes which rows have a gradient, by the number of the node."""

    def note(gradients: tuple[Tensor | None, ...]) -> None:
        if gradients[0] is not None:
            counts = (gradients[0] != 0).any(-1)
            noted[node._sequence_nr()] = counts | ~counts.any()

    return note


def _nodes(tensors: Sequence[Tensor]) -> Iterator[Any]:
    """Yield the nodes of the graph behind tensors, each once."""
    left: list[Any] = [tensor.grad_fn for tensor in tensors]
    seen = set(left)
    while left:
        node = left.pop()
        if node is None:
            continue
        yield node
        new = {following for following, index in node.next_functions} - seen
        seen |= new
        left += new
