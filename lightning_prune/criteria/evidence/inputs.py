"""What layers read, averaged over the batches since the last update: by hooks on the modules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.criteria.evidence.base import Evidence, Subject
from lightning_prune.criteria.evidence.observer import Observer, observable
from lightning_prune.modules.names import plain_name


class Inputs(Evidence):
    """Averages over the batches since the last update of what `summary` makes of inputs."""

    needs_data: ClassVar[bool] = True
    same_on_ranks: ClassVar[bool] = False

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        modules = observable(subject.model)
        # In the order of the weights, which is that of every rank.
        observed = {name: modules[plain_name(name)] for name in subject.weights}
        self._observer = Observer(observed, self.summary)

    @abstractmethod
    def summary(self, inputs: Tensor, dim: int) -> Tensor:
        """Return what is averaged over the batches.

        Args:
            inputs: what a linear layer or convolution reads.
            dim: the dimension of its channels.
        """

    @classmethod
    @override
    def observable(cls, model: nn.Module, names: Collection[str]) -> set[str]:
        """Return the names of the weights of linear layers and ungrouped convolutions."""
        modules = observable(model)
        return {name for name in names if plain_name(name) in modules}

    @property
    @override
    def ready(self) -> bool:
        """Whether every module has read something."""
        return self._observer.ready

    @override
    def start(self, *, only_training: bool) -> None:
        """Hook into the modules."""
        self._observer.start(only_training=only_training)

    @override
    def stop(self) -> None:
        """Take the hooks away."""
        self._observer.stop()

    @override
    def gather(self, loss: Callable[[nn.Module, Any], Tensor], batch: Any) -> None:
        """Run the batch, of which the hooks see enough."""
        with torch.no_grad():
            loss(self.subject.model, batch)

    @override
    def reset(self) -> None:
        """Forget every batch."""
        self._observer.reset()

    @override
    def reduce(self, add_up: Callable[[Tensor], Tensor]) -> None:
        """Add up the sums."""
        self._observer.reduce(add_up)

    @override
    def state_dict(self) -> dict[str, Any] | None:
        """Return the sums."""
        return self._observer.state_dict()

    @override
    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take over the sums."""
        self.reset()
        if state is not None:
            self._observer.load_state_dict(state)

    @override
    def adopt(self, other: Self) -> None:
        """Take over the sums of the same modules."""
        self._observer.adopt(other._observer)
