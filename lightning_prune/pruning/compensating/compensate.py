"""Compensate: fit the readers of removed units, in the order of the data, on calibration data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from lightning_prune.compensations import Compensation
from lightning_prune.measure.allocator import return_memory
from lightning_prune.modules.fast_paths import no_fast_paths
from lightning_prune.modules.names import tensors_by_any_name
from lightning_prune.modules.twin import twin
from lightning_prune.pruning.compensating.counted_rows import CountedRows, Rows, rows_that_count
from lightning_prune.pruning.compensating.norms import Run
from lightning_prune.pruning.compensating.paused import PausedRun
from lightning_prune.pruning.compensating.product_fit import ProductFit
from lightning_prune.pruning.compensating.products import Products, SeenProduct, WeightView

_HELD = 2**29
"""About how many bytes of activations are held of all runs together, where fewer do."""

_ROWS = 8
"""How many rows do for a feature."""


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
class _Seen:
    """A product as it is computed, as it was before, and which of its rows count."""

    now: SeenProduct
    before: SeenProduct
    rows: Tensor | None


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

    def resume(self) -> _Seen | None:
        """Let both run to their next product; None if there is none, or another for each."""
        now, before = self.now.resume(), self.before.resume()
        if now is None or before is None or now.view != before.view:
            return None
        return _Seen(now, before, self.rows.next(now.view))

    def stop(self) -> None:
        """End both."""
        self.now.stop()
        self.before.stop()


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
        have become; the activations that are needed further on are held of all of them. Where these
        would be more than about half a gigabyte, as in front of the first strides of a network for
        large images, and some runs have rows enough, the others begin further on, where they are
        smaller.

        Args:
            names: of the weights.
            runs: run a model on the calibration data.

        Returns:
            What was done.
        """
        done = Compensated()
        waiting: list[Callable[[], _Pair]] = []
        pairs: list[_Pair] = []
        with no_fast_paths():
            order = self._order(names, runs[0], done)
            try:
                fitted = {fit.view.name for fit in order}
                counted = rows_that_count(self._before, fitted, runs)
                waiting += [
                    partial(self._pair, run, fitted, rows)
                    for run, rows in zip(runs, counted, strict=True)
                ]
                for index, fit in enumerate(order):
                    self._fit(
                        fit, pairs, waiting, order[:index], last=fit not in order[index + 1 :]
                    )
                    _note(fit, done)
            finally:
                for pair in pairs:
                    pair.stop()
        return done

    def _order(self, names: Sequence[str], run: Run, done: Compensated) -> list[ProductFit]:
        """Return the readers as they are called; those that cannot be fitted are skipped."""
        fits: dict[WeightView, ProductFit] = {}
        order: list[ProductFit] = []
        sizes: list[int] = []

        def see(seen: SeenProduct) -> bool:
            if seen.view not in fits:
                products = self._compensation.needs_products
                fits[seen.view] = ProductFit(seen, self._mask(seen.view), products=products)
            order.append(fits[seen.view])
            sizes.append(seen.nbytes)
            return False

        with Products(self._model, names, see) as products:
            run(self._model)
        for view, fit in fits.items():
            fit.norm = products.norms.get(view)
            first = order.index(fit)
            fit.growth = max(sizes[first:]) / max(1, sizes[first])
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

        devices = {parameter.device for parameter in copied.parameters()}
        now: PausedRun[SeenProduct] = PausedRun(partial(start, copied), devices)
        before: PausedRun[SeenProduct] = PausedRun(partial(start, twin(self._before)), devices)
        return _Pair(copied, now, before, CountedRows(rows))

    def _fit(
        self,
        fit: ProductFit,
        pairs: list[_Pair],
        waiting: list[Callable[[], _Pair]],
        done: Sequence[ProductFit],
        *,
        last: bool,
    ) -> None:
        """Bring runs to a reader, and fit it once they are there for the last time.

        Those that do not call it as the first one did do not count any more, and leave.

        Args:
            fit: the reader.
            pairs: runs that have begun.
            waiting: begin those that have not; they join while there is room.
            done: the calls before.
            last: whether this is its last call.
        """
        seen: list[_Seen] = []
        for pair in pairs.copy():
            self._advance(pair, [fit], pairs, seen)
            _return_memory(fit, seen)
        begins = fit not in done  # all its calls are seen of the same runs
        while begins and waiting and (fit.rows < _ROWS * fit.width or _held(fit, seen) <= _HELD):
            pairs.append(waiting.pop(0)())
            self._advance(pairs[-1], [*done, fit], pairs, seen)
            _return_memory(fit, seen)
        if last:
            fit.fit(self._compensation, self._tensors, self._add_up)
            self._fitted.add(fit.view)
            for pair, one in zip(pairs, seen, strict=True):
                self._hand_on(fit, pair.model, one.now)
            _return_memory(fit, seen)

    def _advance(
        self, pair: _Pair, calls: Sequence[ProductFit], pairs: list[_Pair], seen: list[_Seen]
    ) -> None:
        """Bring a run to the last of some calls, and add what it reads there, or take it out."""
        one: _Seen | None = None
        for call in calls:
            one = pair.resume()
            if one is None or one.now.view != call.view:
                pair.stop()
                pairs.remove(pair)
                return
        if one is not None:
            calls[-1].add(one.now, one.before, one.rows)
            seen.append(one)

    def _hand_on(self, fit: ProductFit, model: nn.Module, seen: SeenProduct) -> None:
        """Bring what was fitted to a copy that runs, which may hold weights of its own."""
        for view, held in zip((seen.view, seen.bias), seen.operands, strict=True):
            if view is not None and held is not None:
                held.copy_(view.of(self._tensors[view.name]))
        if fit.norm is not None:
            tensors_by_any_name(model)[fit.norm].copy_(self._tensors[fit.norm])


def _held(fit: ProductFit, seen: Sequence[_Seen]) -> float:
    """Return about how many bytes will be held of runs, with one more, from a reader on."""
    read = sum(one.now.nbytes + one.before.nbytes for one in seen)
    return 3 * read * fit.growth * (1 + 1 / max(1, len(seen)))


def _return_memory(fit: ProductFit, seen: Sequence[_Seen]) -> None:
    """Give what runs have freed back to the system, where it is much."""
    if _held(fit, seen) > _HELD / 8:
        return_memory()


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
