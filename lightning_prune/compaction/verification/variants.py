"""Variants: the inputs on which a compact model must prove itself, beside the examples.

Other sizes, another number of examples, other values, numbers and masks, arguments left out:
whatever may be right for the examples only. Each is a question with several choices, because only
the model can tell what it takes. The most telling come first. Whatever runs here can only refuse a
removal; what permits one is proved elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from lightning_prune.compaction.verification import values
from lightning_prune.compaction.verification.numbers import (
    has_numbers,
    with_other_defaults,
    with_other_integers,
    with_other_reals,
)
from lightning_prune.compaction.verification.sizes import (
    Dimension,
    Place,
    batch_places,
    dimensions,
    larger,
    position_places,
    resized,
    smaller,
    with_batch,
    with_short_lists,
)
from lightning_prune.modules.inputs import ExampleInputs

_FEW = 2
"""How many sizes are tried where positions are not likely to lie."""

_Sizes = Callable[[int], list[int]]
_DIRECTIONS: tuple[tuple[str, _Sizes], ...] = (("larger", larger), ("smaller", smaller))


@dataclass(frozen=True)
class Question:
    """Something about the inputs that may vary.

    Args:
        about: what, in words.
        choices: inputs that would show it, the most telling first; gone through once.
        is_basic: whether it is asked however long the model takes.
        is_usual: whether models usually take one of the choices, so that it is worth saying if
            this one does not.
    """

    about: str
    choices: Iterable[ExampleInputs]
    is_basic: bool = False
    is_usual: bool = True


Questions = Generator[Question, bool, bool]
"""Questions, each to be answered by whether the model took one of the choices.

Returns whether it took any.
"""


def training_choices(inputs: ExampleInputs) -> list[ExampleInputs]:
    """Return inputs for train mode: at least two examples, for one may have no statistics."""
    if inputs.batch_size > 1 or not batch_places(inputs):
        return [inputs]
    return [_fresh(with_batch(inputs, 2), inputs, 0), inputs]


def smaller_choices(inputs: ExampleInputs) -> list[ExampleInputs]:
    """Return inputs of smaller sizes, the most usual first."""
    return list(_moved(inputs, inputs, smaller))


def questions(
    forward: Callable[..., Any], inputs: ExampleInputs, whole: ExampleInputs
) -> Questions:
    """Ask what a model takes beside an example.

    Args:
        forward: what is called with the inputs.
        inputs: the example, with few examples in its batch.
        whole: the example as it was given.

    Yields:
        One question after the other.

    Returns:
        Whether the model took anything else.
    """
    taken = yield from _sizes_together(inputs)
    taken |= yield from _masks(inputs)
    taken |= yield from _integers(inputs)
    taken |= yield from _left_out(forward, inputs)
    if not taken:
        taken |= yield Question("other values", [_fresh(inputs, inputs, 5)], is_basic=True)
    taken |= yield from _numbers(forward, inputs)
    if values.has(inputs, "floats"):
        scaled = values.drawn(inputs, inputs, 6, scale=10.0)
        taken |= yield Question("values ten times as large", [scaled])
    taken |= yield from _sizes_alone(inputs)
    if whole is not inputs:  # it comes last, for it may take longer than all others
        taken |= yield Question(f"the whole batch of {whole.batch_size}", [whole], is_basic=True)
    return taken


def _fresh(inputs: ExampleInputs, example: ExampleInputs, seed: int) -> ExampleInputs:
    return values.drawn(inputs, example, seed)


def _sizes_together(inputs: ExampleInputs) -> Questions:
    taken = takes_batches = False
    batches = _other_batches(inputs)
    for index, (name, sizes) in enumerate(_DIRECTIONS):
        batch = batches[index]
        if batch is not None:
            about = f"{name} sizes and a batch of {batch}"
            both = _moved(with_batch(inputs, batch), inputs, sizes)
            if (yield Question(about, both, is_basic=True, is_usual=False)):
                taken = takes_batches = True
                continue
            changed = with_batch(inputs, batch)
            choices = [_fresh(changed, inputs, 1), changed]
            takes_batches |= yield Question(f"a batch of {batch}", choices, is_basic=True)
        alone = _moved(inputs, inputs, sizes)
        taken |= yield Question(f"{name} sizes", alone, is_basic=True)
    if any(batches) and not takes_batches:  # perhaps it takes pairs
        changed = with_batch(inputs, 2 * inputs.batch_size)
        about = f"a batch of {2 * inputs.batch_size}"
        takes_batches = yield Question(about, [_fresh(changed, inputs, 1)], is_basic=True)
    taken |= takes_batches
    short = with_short_lists(inputs)
    if short is not None:
        taken |= yield Question("lists of one element", [_fresh(short, short, 2), short])
    return taken


def _other_batches(inputs: ExampleInputs) -> list[int | None]:
    """Return the number of examples beside larger sizes, and beside smaller ones.

    Fewer examples go with larger sizes, which take their time.
    """
    full = inputs.batch_size
    if not full or not batch_places(inputs):
        return [None, None]
    return [1 if full > 1 else None, full + 1]


def _moved(base: ExampleInputs, example: ExampleInputs, sizes: _Sizes) -> Iterator[ExampleInputs]:
    """Yield inputs in which all positions have other sizes, and other values."""
    tensors = example.tensors
    guessed = position_places(example) - batch_places(example)
    wanted = {tensors[p.index].shape[p.dim] for p in guessed}
    whole = [d.places for d in dimensions(example) if d.is_whole and d.size in wanted]
    for places in dict.fromkeys([frozenset[Place]().union(*whole), guessed]):
        steps = {place: sizes(tensors[place.index].shape[place.dim]) for place in places}
        for step in range(max(map(len, steps.values()), default=0)):
            change = {
                place: found[min(step, len(found) - 1)] for place, found in steps.items() if found
            }
            yield _fresh(resized(base, change), example, 10 + step)


def _sizes_alone(inputs: ExampleInputs) -> Questions:
    """Ask for one dimension at a time, and for those that the guess has left out."""
    taken = False
    guessed = position_places(inputs)
    moved = {place for d in dimensions(inputs) if d.places & guessed for place in d.places}
    for dimension in dimensions(inputs):
        if dimension.places == moved:
            continue  # it was asked for already
        most = None if dimension.places & guessed else _FEW
        for name, sizes in _DIRECTIONS:
            choices = _resized_alone(inputs, dimension, sizes(dimension.size)[:most])
            taken |= yield Question(f"{name} {dimension.name}", choices, is_usual=False)
    return taken


def _resized_alone(
    inputs: ExampleInputs, dimension: Dimension, sizes: Iterable[int]
) -> Iterator[ExampleInputs]:
    for size in sizes:
        yield _fresh(resized(inputs, dict.fromkeys(dimension.places, size)), inputs, 20)


def _masks(inputs: ExampleInputs) -> Questions:
    if not values.has(inputs, "mask", "hiding"):
        return False
    fresh = _fresh(inputs, inputs, 7)
    mixed = [values.mixed_masks(fresh, 7), values.mixed_masks(inputs, 7)]
    taken = yield Question("mixed masks", mixed, is_basic=True)
    taken |= yield Question("masks that hide nothing", [values.filled_masks(inputs, shown=True)])
    hidden = values.filled_masks(inputs, shown=False)
    taken |= yield Question("masks that hide everything", [hidden], is_usual=False)
    return taken


def _integers(inputs: ExampleInputs) -> Questions:
    if not values.has(inputs, "integers"):
        return False
    taken = yield Question("whole numbers from zero on", [values.from_zero(inputs, 8)])
    taken |= yield Question("whole numbers in another order", [values.permuted(inputs, 8)])
    return taken


def _numbers(forward: Callable[..., Any], inputs: ExampleInputs) -> Questions:
    taken = False
    others = with_other_defaults(forward, inputs)
    if others:
        about = "other numbers than the defaults"
        taken |= yield Question(about, others, is_basic=True, is_usual=False)
    if has_numbers(inputs, float):
        taken |= yield Question("other real numbers", [with_other_reals(inputs)], is_basic=True)
    if has_numbers(inputs, int):
        choices = [_fresh(one, one, 9) for one in with_other_integers(inputs)]
        taken |= yield Question("other whole numbers as arguments", choices, is_basic=True)
    return taken


def _left_out(forward: Callable[..., Any], inputs: ExampleInputs) -> Questions:
    """Ask for tensors left out whose parameters have a default; options stay as they are given."""
    taken = False
    for name, shorter in _shorter_calls(forward, inputs):
        if shorter.tensors:
            choices = [_fresh(shorter, shorter, 9), shorter]
            taken |= yield Question(f"a call without `{name}`", choices)
    return taken


def _shorter_calls(
    forward: Callable[..., Any], inputs: ExampleInputs
) -> Iterator[tuple[str, ExampleInputs]]:
    try:
        parameters = inspect.signature(forward).parameters
    except (TypeError, ValueError):  # a function without a signature
        return
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, given in inputs.kwargs.items():
        if _holds_tensor(given) and (name in defaults or (takes_any and name not in parameters)):
            rest = {key: value for key, value in inputs.kwargs.items() if key != name}
            yield name, replace(inputs, kwargs=rest)
    for index, (given, name) in enumerate(zip(inputs.args, parameters, strict=False)):
        if _holds_tensor(given) and name in defaults:
            args = (*inputs.args[:index], defaults[name], *inputs.args[index + 1 :])
            yield name, replace(inputs, args=args)


def _holds_tensor(argument: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in tree_leaves(argument))
