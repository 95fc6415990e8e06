"""A reader: one product with a weight, what was seen of it, and its fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lightning_prune.compensations import Compensation
from lightning_prune.pruning.compensating.products import SeenProduct
from lightning_prune.pruning.compensating.sums import Sums


class ProductFit:
    """A reader, and what was seen of it.

    Args:
        call: the first one.
        mask: what is kept of its weight, in the shape of the view.
        products: whether weights are to be fitted, not only constants.

    Attributes:
        view: its weight.
        growth: the most that a later reader reads and writes, relative to this one.
        norm: the name of the running mean of the batch norm that reads it, if one does.
        errors: what is lost of the square of its outputs, before it was fitted and after; None if
            only constants were.
        obstacle: why it could not be fitted; None if it was.
    """

    def __init__(self, call: SeenProduct, mask: Tensor, *, products: bool) -> None:
        self.view, self._linear_map, self._bias = call.view, call.linear_map, call.bias
        self.growth = 1.0
        self.norm: str | None = None
        self.errors: tuple[float, float] | None = None
        self.obstacle: str | None = None
        kept = self._linear_map.matrices(mask)
        self._features, self._outputs = kept.any(1), kept.any(2)
        self._kept = kept
        outer = self._outputs.unsqueeze(2) & self._features.unsqueeze(1)
        self.takes_whole_units = torch.equal(kept, outer)
        self._products = products
        self._sums: list[Sums] = []

    @property
    def rows(self) -> int:
        """How many rows were added so far."""
        return self._sums[0].rows if self._sums else 0

    @property
    def width(self) -> int:
        """How many features it has, in the largest group."""
        return int(self._features.sum(1).amax())

    def _begin(self) -> None:
        """Make room for sums, unless there are some."""
        if not self._sums:
            read = self._features if self._products else self._outputs
            self._sums = [
                Sums(int(f.sum()), int(o.sum()), products=self._products)
                for f, o in zip(read, self._outputs, strict=True)
            ]

    def add(self, now: SeenProduct, before: SeenProduct, rows: Tensor | None = None) -> None:
        """Add what one call reads, and what it should write; without products, what it writes.

        Args:
            now: the call.
            before: the same call of the model before.
            rows: which of its rows count, shape ``[rows]``; None = all do.
        """
        self._begin()
        kept = self._features if self._products else self._outputs
        if self._products:
            found = now.linear_map.features(_exact(now.inputs))
        else:
            found = now.linear_map.outputs(_exact(now.outputs))
        written = before.linear_map.outputs(_wanted(now, before))
        if rows is not None:
            found, written = found[:, rows], written[:, rows]
        parts = zip(self._sums, found, kept, written, self._outputs, strict=True)
        for sums, one, read, other, wrote in parts:
            sums.add(one[:, read], other[:, wrote])

    def fit(
        self,
        compensation: Compensation,
        tensors: Mapping[str, Tensor],
        add_up: Callable[[Tensor], Tensor],
    ) -> None:
        """Change the weight, and the constant that is added.

        Args:
            compensation: says what the weight becomes.
            tensors: the model's parameters and buffers, by name.
            add_up: returns the sum of a tensor over all ranks.
        """
        self._begin()
        for sums in self._sums:
            sums.reduce(add_up)
        if not all(sums.finite for sums in self._sums):
            self.obstacle = "it has read something that is not finite"
            return
        written = [sums.mean_features for sums in self._sums]
        if self._products:
            weight = self.view.of(tensors[self.view.name])
            matrices = self._linear_map.matrices(weight).clone()
            self._fit_weights(compensation, matrices)
            weight.copy_(self._linear_map.weight(matrices, weight))
            written = self._means_written(matrices, tensors)
        elif not self._takes_constants:
            self.obstacle = "it has neither a bias nor a batch norm behind it"
        missing = torch.zeros_like(self._outputs, dtype=torch.float64, device="cpu")
        for kept, sums, mean, out in zip(
            self._outputs.cpu(), self._sums, written, missing, strict=True
        ):
            out[kept] = sums.mean_outputs - mean
        self._add_constants(missing.flatten(), tensors)
        self._sums = []

    @property
    def _takes_constants(self) -> bool:
        return self._bias is not None or self.norm is not None

    def _fit_weights(self, compensation: Compensation, matrices: Tensor) -> None:
        """Fit the weights of each group in place, and note what was lost before and after."""
        lost = torch.zeros(2)
        for matrix, where, sums in zip(matrices, self._kept, self._sums, strict=True):
            moments = sums.moments(about_mean=self._takes_constants)
            now = matrix[where].double().cpu().view(moments.outputs.T.shape)
            new = compensation.fit(moments, now)
            matrix[where] = new.flatten().to(matrix)
            lost += torch.tensor([moments.error(now), moments.error(new)]) / len(matrices)
        self.errors = (float(lost[0]), float(lost[1]))

    def _means_written(self, matrices: Tensor, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the means of what the reader writes now, for each group of kept outputs."""
        means = []
        bias = torch.zeros_like(self._outputs, dtype=torch.float64, device="cpu")
        if self._bias is not None:
            bias = self._bias.of(tensors[self._bias.name]).double().cpu().view(bias.shape)
        for index, sums in enumerate(self._sums):
            kept = self._outputs[index].cpu()
            matrix = matrices[index].double().cpu()[kept][:, self._features[index].cpu()]
            means.append(matrix @ sums.mean_features + bias[index][kept])
        return means

    def _add_constants(self, missing: Tensor, tensors: Mapping[str, Tensor]) -> None:
        """Let what is added, or the mean of the norm behind, make up for what is missing."""
        if self._bias is not None:
            bias = self._bias.of(tensors[self._bias.name])
            bias.add_(missing.to(bias))
        elif self.norm is not None:
            mean = tensors[self.norm]
            mean.sub_(missing.to(mean))


def _wanted(now: SeenProduct, before: SeenProduct) -> Tensor:
    """Return what a call should write, so that what it is added to becomes what it was before."""
    wanted = _exact(before.outputs)
    if now.added is None or before.added is None:
        return wanted
    return wanted + (_exact(before.added) - _exact(now.added))


def _exact(values: Tensor) -> Tensor:
    """Return values in at least 32 bits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
