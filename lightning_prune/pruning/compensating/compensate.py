"""Compensate: fit the readers of removed units, in the order of the data, on calibration data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lightning_prune.compensations import Compensation
from lightning_prune.modules.fast_paths import no_fast_paths
from lightning_prune.modules.names import tensors_by_any_name
from lightning_prune.pruning.compensating.norms import Run
from lightning_prune.pruning.compensating.product_fit import ProductFit
from lightning_prune.pruning.compensating.products import Products, SeenProduct, WeightView


@dataclass(frozen=True)
class Compensated:
    """What a compensation has done.

    Args:
        errors: of the readers that were fitted, by the name of their weight: the fraction of the
            square of their outputs that was lost before and that is lost after, from 0; None where
            only constants were. Where there is a bias or a norm, all is about the mean.
        skipped: why other readers were not, by the name of their weight.
        norms: names of the batch norms that read what was fitted.
    """

    errors: dict[str, tuple[float, float] | None] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    norms: list[str] = field(default_factory=list)

    @property
    def refitted(self) -> bool:
        """Whether weights were fitted, not only constants."""
        return any(errors is not None for errors in self.errors.values())

    def notes(self) -> list[str]:
        """Return what was done, and why some readers were skipped, a line for each."""
        notes = []
        if self.errors:
            notes.append(f"compensated: {len(self.errors)} weights that read removed units")
        losses = [errors for errors in self.errors.values() if errors is not None]
        if losses:
            before, after = (sum(errors) / len(losses) for errors in zip(*losses, strict=True))
            notes[0] += f"; they lose {after:.1%} of the square of their outputs, not {before:.1%}"
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            by_reason.setdefault(reason, []).append(name)
        return notes + [f"not compensated, {why}: {', '.join(n)}" for why, n in by_reason.items()]


class _Enough(BaseException):
    """Ends a forward pass of which everything was seen; no `except Exception` stops it."""


class Compensator:
    """Fits the readers of removed units.

    Args:
        compensation: how.
        model: the model without the units, in eval mode; its weights and norms are changed.
        before: a copy of it as it was with them, in eval mode.
        masks: boolean masks of its weights by name, ``True`` = kept; what has none is kept whole.
        add_up: returns the sum of a tensor over all ranks.
    """

    def __init__(
        self,
        compensation: Compensation,
        model: nn.Module,
        before: nn.Module,
        masks: Mapping[str, Tensor],
        add_up: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    ) -> None:
        self._compensation, self._model, self._before = compensation, model, before
        self._masks, self._add_up = masks, add_up
        self._tensors = tensors_by_any_name(model)

    @torch.no_grad()
    def fit(self, names: Sequence[str], runs: Sequence[Run]) -> Compensated:
        """Fit the readers with these weights.

        Args:
            names: of the weights.
            runs: run a model on the calibration data.

        Returns:
            What was done.
        """
        done = Compensated()
        with no_fast_paths():
            readers = self._readers(names, runs[0], done)
            for reader in readers:
                self._fit(reader, runs, done)
        return done

    def _readers(self, names: Sequence[str], run: Run, done: Compensated) -> list[ProductFit]:
        """Return the readers in the order of the data; those that cannot be fitted are skipped."""
        readers: dict[WeightView, ProductFit] = {}

        def see(call: SeenProduct) -> None:
            if call.view in readers:
                readers[call.view].calls += 1
            else:
                readers[call.view] = ProductFit(call, self._mask(call.view))

        with Products(self._model, names, see) as products:
            run(self._model)
        for view, reader in readers.items():
            reader.norm = products.norms.get(view)
        for name in names:
            mine = [reader for view, reader in readers.items() if view.name == name]
            if name in products.others:
                done.skipped[name] = f"{products.others[name]} reads it, which is no linear map"
            elif not mine:
                done.skipped[name] = "no linear layer or convolution was seen to read it"
            elif not all(reader.takes_whole_units for reader in mine):
                done.skipped[name] = "single weights of it are removed"
        return [r for view, r in readers.items() if view.name not in done.skipped]

    def _mask(self, view: WeightView) -> Tensor:
        """Return what is kept of an view, in its shape."""
        weight = self._tensors[view.name]
        kept = torch.ones_like(weight, dtype=torch.bool)
        mask = self._masks.get(view.name)
        if mask is not None:
            kept.copy_(mask)
        return view.of(kept)

    def _fit(self, reader: ProductFit, runs: Sequence[Run], done: Compensated) -> None:
        """Fit one reader to what it wrote before."""
        products = self._compensation.needs_products
        reader.start(products=products)
        for run in runs:
            before = self._look(self._before, reader, run, ProductFit.outputs)
            take = ProductFit.features if products else ProductFit.outputs
            now = self._look(self._model, reader, run, take)
            for one, other in zip(now, before, strict=False):
                reader.add(one, other)
        name = reader.view.name
        reader.fit(self._compensation, self._tensors, self._add_up)
        if reader.obstacle is not None:
            done.skipped[name] = reader.obstacle
            return
        done.errors[name] = reader.errors
        if reader.norm is not None:
            done.norms.append(reader.norm.rpartition(".")[0])

    @staticmethod
    def _look(
        model: nn.Module,
        reader: ProductFit,
        run: Run,
        take: Callable[[ProductFit, SeenProduct], list[Tensor]],
    ) -> list[list[Tensor]]:
        """Run a model until the reader was called as often as in the first run; take of each."""
        taken: list[list[Tensor]] = []

        def see(seen: SeenProduct) -> None:
            if seen.view == reader.view:
                taken.append(take(reader, seen))
                if len(taken) == reader.calls:
                    raise _Enough

        with contextlib.suppress(_Enough), Products(model, [reader.view.name], see):
            run(model)
        return taken
