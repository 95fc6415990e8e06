"""The compact twin: a copy of a model as small as compaction would make it, without any proof.

It is there to be measured, never to be used: nothing holds its outputs to those of the model.
"""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from lightning_prune.compaction.shrinking import Shrinking
from lightning_prune.coupling import Coupling, couple
from lightning_prune.modules.garbage import no_full_collections
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import twin

_Model = TypeVar("_Model", bound=nn.Module)


@no_full_collections()
def compact_twin(
    model: _Model,
    example: ExampleInputs,
    *,
    coupling: Coupling | None = None,
    round_to: int = 1,
    allow_unused: bool = False,
) -> _Model:
    """Return an unverified compact copy of a masked model.

    Args:
        model: any module with zeros in its weights; it stays as it is.
        example: arguments for it.
        coupling: of the model, by this example and perhaps others, where it is known.
        round_to: the number of units that stay in a group is a multiple of this, or all; dead ones
            stay for that.
        allow_unused: as in `compact`.

    Returns:
        A copy in eval mode that runs on the example.

    Raises:
        ExampleInputsError: if the model does not run on the example.
    """
    small = twin(model).eval()
    example = example.on(small)
    if coupling is None:
        coupling = couple(small, example, allow_unused=allow_unused)
    Shrinking(
        small,
        [example],
        before=model,
        allow_unused=allow_unused,
        verified=False,
        round_to=round_to,
    ).run(coupling)
    return small
