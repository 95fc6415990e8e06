"""Layout: operations that move elements, run on what is known of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch

from lightning_prune.compaction.constants.known import known
from lightning_prune.compaction.constants.step import Results, Step, Transfer, operations


def layout(step: Step) -> Results:
    """Return what is known where ``y[i] = x[p(i)]``."""
    varies = step.run(lambda ref: step.value(ref).varies.double())
    numbers = step.numbers()
    return [known(v > 0, n) for v, n in zip(varies, numbers, strict=True)]


def part(step: Step) -> Results:
    """Return what is known of positions along one dimension.

    Which positions a model takes may follow from the sizes of its inputs, as where a table is cut
    to the length of a sequence. So they must all be the same there, unless the dimension is one of
    channels.
    """
    ref, dim = step.node.args[0], step.node.argument("dim", 0)
    if _is_whole(step) or step.is_of_channels(ref, dim):
        return layout(step)
    x = step.value(ref)
    varies = (x.varies | ~x.is_uniform([dim])).double()
    parts = zip(step.run(lambda _: varies), step.numbers(), strict=True)
    return [known(v > 0, n) for v, n in parts]


def _is_whole(step: Step) -> bool:
    """Tell whether a slice is ``x[:]``, whatever the size."""
    node = step.node
    return (
        node.name == "aten::slice"
        and node.argument("start") in (None, 0)
        and node.argument("end") in (None, sys.maxsize)
        and node.argument("step", 1) == 1
    )


def padding(step: Step) -> Results:
    """Return what is known between borders of one number: how wide they are may follow sizes."""
    ref, widths = step.node.args[:2]
    number = step.node.argument("value") or 0.0
    x = step.value(ref)
    differs = (x.varies | (x.numbers != number)).double()
    varies = torch.constant_pad_nd(differs, widths, 0.0) > 0
    return [known(varies, torch.constant_pad_nd(x.numbers, widths, number))]


LAYOUT: Mapping[str, Transfer] = (
    dict.fromkeys(
        operations(
            "alias channel_shuffle clone contiguous detach expand expand_as flatten flip "
            "lift_fresh mT moveaxis movedim native_channel_shuffle numpy_T permute pixel_shuffle "
            "pixel_unshuffle repeat reshape reshape_as resolve_conj roll squeeze swapaxes swapdims "
            "t tile transpose unflatten unsqueeze view view_as _unsafe_view "
            "cat concat concatenate stack"
        ),
        layout,
    )
    | dict.fromkeys(
        operations(
            "chunk narrow select slice split split_with_sizes tensor_split unbind unsafe_chunk "
            "unsafe_split"
        ),
        part,
    )
    | {"aten::constant_pad_nd": padding}
)
