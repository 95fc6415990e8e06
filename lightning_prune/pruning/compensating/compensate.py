"""Compensate: fit the readers of removed units, in the order of the data, on calibration data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from lightning_prune.compensations import Compensation
from lightning_prune.modules.fast_paths import no_fast_paths
from lightning_prune.modules.names import tensors_by_any_name
from lightning_prune.modules.twin import twin
from lightning_prune.pruning.compensating.counted_rows import CountedRows, Rows, rows_that_count
from lightning_prune.pruning.compensating.norms import Run
from lightning_prune.pruning.compensating.paused import PausedRun
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


@dataclass(frozen=True)
class _Pair:
    """A run of the model on a batch, and one of the model as it was before.

    Args:
        model: the copy of the model that runs.
        now: its run.
        before: that of the model before.
        rows: which rows of its products count.
    """

    model: nn.Module
    now: PausedRun[SeenProduct]
    before: PausedRun[SeenProduct]
    rows: CountedRows


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
        self._fitted: set[WeightView] = set()

    @torch.no_grad()
    def fit(self, names: Sequence[str], runs: Sequence[Run]) -> Compensated:
        """Fit the readers with these weights.

        All runs go on together from one reader to the next, so that each reads what those before it
        have become; the activations that are needed further on are held of all of them.

        Args:
            names: of the weights.
            runs: run a model on the calibration data.

        Returns:
            What was done.
        """
        done = Compensated()
        pairs: list[_Pair] = []
        with no_fast_paths():
            order = self._order(names, runs[0], done)
            try:
                fitted = {fit.view.name for fit in order}
                counted = rows_that_count(self._before, fitted, runs)
                pairs += [self._pair(run, fitted, r) for run, r in zip(runs, counted, strict=True)]
                for index, fit in enumerate(order):
                    pairs = self._fit(fit, pairs, last=fit not in order[index + 1 :])
                    _note(fit, done)
            finally:
                for pair in pairs:
                    pair.now.stop()
                    pair.before.stop()
        return done

    def _order(self, names: Sequence[str], run: Run, done: Compensated) -> list[ProductFit]:
        """Return the readers as they are called; those that cannot be fitted are skipped."""
        fits: dict[WeightView, ProductFit] = {}
        order: list[ProductFit] = []

        def see(seen: SeenProduct) -> bool:
            if seen.view not in fits:
                products = self._compensation.needs_products
                fits[seen.view] = ProductFit(seen, self._mask(seen.view), products=products)
            order.append(fits[seen.view])
            return False

        with Products(self._model, names, see) as products:
            run(self._model)
        for view, fit in fits.items():
            fit.norm = products.norms.get(view)
        for name in names:
            mine = [fit for view, fit in fits.items() if view.name == name]
            if name in products.others:
                done.skipped[name] = f"{products.others[name]} reads it, which is no linear map"
            elif not mine:
                done.skipped[name] = "no linear layer or convolution was seen to read it"
            elif not all(fit.takes_whole_units for fit in mine):
                done.skipped[name] = "single weights of it are removed"
        return [fit for fit in order if fit.view.name not in done.skipped]

    def _mask(self, view: WeightView) -> Tensor:
        """Return what is kept of a weight, in its shape."""
        weight = self._tensors[view.name]
        kept = torch.ones_like(weight, dtype=torch.bool)
        mask = self._masks.get(view.name)
        if mask is not None:
            kept.copy_(mask)
        return view.of(kept)

    def _pair(self, run: Run, names: Collection[str], rows: Rows) -> _Pair:
        """Return two runs on a batch that have not begun."""
        copied, fitted = twin(self._model), self._fitted

        def start(model: nn.Module, pause: Callable[[SeenProduct], None]) -> None:
            def see(seen: SeenProduct) -> bool:
                pause(seen)
                return model is copied and seen.view in fitted

            with torch.no_grad(), Products(model, names, see):
                run(model)

        now: PausedRun[SeenProduct] = PausedRun(partial(start, copied))
        before: PausedRun[SeenProduct] = PausedRun(partial(start, twin(self._before)))
        return _Pair(copied, now, before, CountedRows(rows))

    def _fit(self, fit: ProductFit, pairs: Sequence[_Pair], *, last: bool) -> list[_Pair]:
        """Bring all runs to a reader, and fit it once they are there for the last time.

        Returns:
            The runs that call it as the first one did; others do not count any more.
        """
        going: list[_Pair] = []
        seen: list[SeenProduct] = []
        for pair in pairs:
            now, before = pair.now.resume(), pair.before.resume()
            if now is None or before is None or not now.view == before.view == fit.view:
                pair.now.stop()
                pair.before.stop()
                continue
            fit.add(now, before, pair.rows.next(fit.view))
            going.append(pair)
            seen.append(now)
        if last:
            fit.fit(self._compensation, self._tensors, self._add_up)
            self._fitted.add(fit.view)
            for pair, product in zip(going, seen, strict=True):
                self._hand_on(fit, pair.model, product)
        return going

    def _hand_on(self, fit: ProductFit, model: nn.Module, seen: SeenProduct) -> None:
        """Bring what was fitted to a copy that runs, which may hold weights of its own."""
        for view, held in zip((seen.view, seen.bias), seen.operands, strict=True):
            if view is not None and held is not None:
                held.copy_(view.of(self._tensors[view.name]))
        if fit.norm is not None:
            tensors_by_any_name(model)[fit.norm].copy_(self._tensors[fit.norm])


def _note(fit: ProductFit, done: Compensated) -> None:
    """Note what has become of a reader, once it is fitted."""
    name = fit.view.name
    if fit.obstacle is not None:
        done.skipped[name] = fit.obstacle
        return
    done.errors[name] = fit.errors
    norm = "" if fit.norm is None else fit.norm.rpartition(".")[0]
    if norm and norm not in done.norms:
        done.norms.append(norm)
