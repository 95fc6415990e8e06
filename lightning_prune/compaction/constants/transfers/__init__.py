"""Transfers: what is known of the results of an operation, from what is known of its inputs.

One family of operations per file. Every function must be right for all sizes of the model's inputs,
not only for the recorded ones. What has no function varies everywhere.
"""

from collections.abc import Mapping

import torch

from lightning_prune.compaction.constants.step import Results, Step, Transfer
from lightning_prune.compaction.constants.transfers.averages import AVERAGES
from lightning_prune.compaction.constants.transfers.elementwise import ELEMENTWISE, elementwise
from lightning_prune.compaction.constants.transfers.filling import MADE
from lightning_prune.compaction.constants.transfers.layout import LAYOUT
from lightning_prune.compaction.constants.transfers.normalization import NORMALIZATION
from lightning_prune.compaction.constants.transfers.products import PRODUCTS

__all__ = ["transfer"]

_TABLE: Mapping[str, Transfer] = {
    **AVERAGES,
    **ELEMENTWISE,
    **LAYOUT,
    **MADE,
    **NORMALIZATION,
    **PRODUCTS,
}


def transfer(step: Step) -> Results:
    """Return what is known of each result of an operation.

    Args:
        step: the operation.

    Returns:
        In the order of its results; None, or nothing, = every element may vary.
    """
    function = _TABLE.get(step.node.name)
    if function is None:
        tags = step.node.op.tags
        is_random = torch.Tag.nondeterministic_seeded in tags
        function = elementwise if torch.Tag.pointwise in tags and not is_random else None
    if function is None or (step.known and not any(step.known.values())):
        return []
    return function(step)
