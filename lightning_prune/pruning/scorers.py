"""The scorers of a pruner: one for each criterion, and one by which removed units grow again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from lightning_prune.criteria.evidence import Evidence
from lightning_prune.pruning.scorer import Scorer


class Scorers:
    """Several scorers of one model, which look at the same steps.

    Args:
        removal: by which units are removed.
        growth: by which they grow, ``None`` if they do not.
    """

    def __init__(self, removal: Iterable[Scorer], growth: Scorer | None = None) -> None:
        self._removal = list(dict.fromkeys(removal))
        self._all = [*self._removal, *([] if growth is None else [growth])]

    @property
    def _evidence(self) -> list[Evidence]:
        return [scorer.evidence for scorer in self._removal]

    @property
    def needs_data(self) -> bool:
        """Whether batches must have been seen before an update."""
        return any(evidence.needs_data for evidence in self._evidence)

    @property
    def ready(self) -> bool:
        """Whether there are scores for an update. Synchronises with the device."""
        return all(evidence.ready for evidence in self._evidence)

    @property
    def started(self) -> bool:
        """Whether anything was seen since the last update, be it finite or not."""
        return all(evidence.started for evidence in self._evidence)

    @property
    def survive_compaction(self) -> bool:
        """Whether the weights may become smaller now, and nothing was gathered of what goes."""
        return all(scorer.evidence.survives_compaction for scorer in self._all)

    def start(self, *, only_training: bool) -> None:
        """Begin to observe by hooks, where criteria do.

        Args:
            only_training: look at forward passes in training mode only.
        """
        for evidence in self._evidence:
            evidence.start(only_training=only_training)

    def stop(self) -> None:
        """Take every hook off the model; what was observed stays."""
        for evidence in self._evidence:
            evidence.stop()

    def gather(self, loss: Callable[[nn.Module, Any], Tensor], batch: Any) -> None:
        """Look at one batch outside of a training; criteria that read gradients share a pass.

        Args:
            loss: ``loss(model, batch)`` returns a scalar.
            batch: what it takes.

        Raises:
            ValueError: if the loss has no gradient.
        """
        last: type[Evidence] | None = None
        read = [evidence for evidence in self._evidence if evidence.needs_data]
        for evidence in sorted(read, key=lambda e: type(e).__qualname__):
            kind = type(evidence)
            if kind is last and kind.gather is Evidence.gather:
                evidence.add()  # the gradients are there
            else:
                evidence.gather(loss, batch)
            last = kind

    def add(
        self,
        parameters: Iterable[Tensor] | None = None,
        grad_scale: float | Tensor | None = None,
    ) -> None:
        """Look at one step of an optimizer, as `Evidence.add` does."""
        among = None if parameters is None else list(parameters)
        for scorer in self._all:
            scorer.evidence.add(among, grad_scale)

    def reduce(self, add_up: Callable[[Tensor], Tensor]) -> None:
        """Add up over ranks what each has gathered from its own data.

        Args:
            add_up: returns the sum of a tensor over all ranks.
        """
        for evidence in self._evidence:
            evidence.reduce(add_up)

    def reset(self) -> None:
        """Forget what was gathered: an update has used it."""
        for scorer in self._all:
            scorer.evidence.reset()

    def weights_without_optimizer(self, stepped: Collection[int]) -> list[str]:
        """Return the names of the weights whose scores stay zero, as no optimizer steps on them.

        Args:
            stepped: ids of the parameters that some optimizer steps on.
        """
        found = [scorer.weights_without_optimizer(stepped) for scorer in self._removal]
        return list(dict.fromkeys(name for names in found for name in names))

    def state_dict(self) -> list[dict[str, Any] | None]:
        """Return what each has seen since the last update."""
        return [scorer.state_dict() for scorer in self._all]

    def load_state_dict(self, states: Sequence[dict[str, Any] | None]) -> None:
        """Take over what `state_dict` returned for the same groups and criteria."""
        for scorer, state in zip(self._all, states, strict=True):
            scorer.load_state_dict(state)

    def adopt(self, other: Scorers) -> None:
        """Take over what the same criteria have seen of the same model; they stop."""
        for mine, theirs in zip(self._all, other._all, strict=True):
            mine.adopt(theirs)
