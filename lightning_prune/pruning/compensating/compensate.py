"""Compensate: fit the readers of removed units, in the order of the data, on calibration data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lightning_prune.compensations import Compensation
from lightning_prune.modules.fast_paths import no_fast_paths
from lightning_prune.modules.names import tensors_by_any_name
from lightning_prune.pruning.compensating.norms import Run
from lightning_prune.pruning.compensating.products import Products, SeenProduct, WeightView
from lightning_prune.pruning.compensating.sums import Sums


@dataclass(frozen=True)
class Compensated:
    """What a compensation has done.

    Args:
        errors: of the readers that were fitted, by the name of their weight: the fraction of the
            square of their outputs that was lost before and that is lost after, from 0. Where
            there is a bias or a norm, all is about the mean.
        skipped: why other readers were not, by the name of their weight.
    """

    errors: dict[str, tuple[float, float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Return what was done, and why some readers were skipped, a line for each."""
        notes = []
        if self.errors:
            before, after = (
                sum(errors) / len(errors) for errors in zip(*self.errors.values(), strict=True)
            )
            notes.append(
                f"compensated: {len(self.errors)} readers lose {after:.1%} of the square of their "
                f"outputs in place of {before:.1%}, on average"
            )
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
            passes = getattr(self._compensation, "passes", None) or len(readers)
            for stage in _shared(readers, passes):
                self._fit_stage(stage, runs, done)
        return done

    def _readers(self, names: Sequence[str], run: Run, done: Compensated) -> list[_Reader]:
        """Return the readers in the order of the data; those that cannot be fitted are skipped."""
        readers: dict[WeightView, _Reader] = {}

        def see(call: SeenProduct) -> None:
            if call.view in readers:
                readers[call.view].calls += 1
            else:
                readers[call.view] = _Reader(call, self._mask(call.view))

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

    def _fit_stage(self, stage: Sequence[_Reader], runs: Sequence[Run], done: Compensated) -> None:
        """Fit some readers, none of which sees what has become of the others."""
        products = self._compensation.needs_products
        for reader in stage:
            reader.start(products=products)
        for run in runs:
            outputs = self._look(self._before, stage, run, _Reader.outputs)
            now = _Reader.features if products else _Reader.outputs
            features = self._look(self._model, stage, run, now)
            for reader in stage:
                pairs = zip(features[reader.view], outputs[reader.view], strict=False)
                for one, other in pairs:
                    reader.add(one, other)
        for reader in stage:
            errors = reader.fit(self._compensation, self._tensors, self._add_up)
            if errors is None:
                done.skipped[reader.view.name] = "it has read something that is not finite"
            else:
                done.errors[reader.view.name] = errors

    def _look(
        self,
        model: nn.Module,
        stage: Sequence[_Reader],
        run: Run,
        take: Callable[[_Reader, SeenProduct], list[Tensor]],
    ) -> dict[WeightView, list[list[Tensor]]]:
        """Run a model until every reader was seen, and return what was taken of each call."""
        readers = {reader.view: reader for reader in stage}
        taken: dict[WeightView, list[list[Tensor]]] = {view: [] for view in readers}

        def see(call: SeenProduct) -> None:
            if call.view in readers:
                taken[call.view].append(take(readers[call.view], call))
            if all(len(taken[view]) >= r.calls for view, r in readers.items()):
                raise _Enough

        try:
            with Products(model, {view.name for view in readers}, see):
                run(model)
        except _Enough:
            pass
        return taken


class _Reader:
    """A reader, and what was seen of it.

    Args:
        call: the first one.
        mask: what is kept of its weight, in the shape of the view.

    Attributes:
        view: its weight.
        calls: how often it is called in a run.
        norm: the name of the running mean of the batch norm that reads it, if one does.
    """

    def __init__(self, call: SeenProduct, mask: Tensor) -> None:
        self.view, self._linear_map, self._bias = call.view, call.linear_map, call.bias
        self.calls = 1
        self.norm: str | None = None
        kept = self._linear_map.matrices(mask)
        self._features, self._outputs = kept.any(1), kept.any(2)
        self._kept = kept
        outer = self._outputs.unsqueeze(2) & self._features.unsqueeze(1)
        self.takes_whole_units = torch.equal(kept, outer)
        self._sums: list[Sums] = []

    def start(self, *, products: bool) -> None:
        """Begin to add up; without products, what it writes now stands for what it reads."""
        read = self._features if products else self._outputs
        pairs = zip(read, self._outputs, strict=True)
        self._sums = [Sums(int(f.sum()), int(o.sum()), products=products) for f, o in pairs]

    def features(self, call: SeenProduct) -> list[Tensor]:
        """Return the kept features of each group, shape ``[rows, features]``."""
        found = call.linear_map.features(_exact(call.inputs))
        return [one[:, kept] for one, kept in zip(found, self._features, strict=True)]

    def outputs(self, call: SeenProduct) -> list[Tensor]:
        """Return the kept outputs of each group, shape ``[rows, outputs]``."""
        found = call.linear_map.outputs(_exact(call.outputs))
        return [one[:, kept] for one, kept in zip(found, self._outputs, strict=True)]

    def add(self, features: list[Tensor], outputs: list[Tensor]) -> None:
        """Add what one call has read, and what it wrote before."""
        for sums, one, other in zip(self._sums, features, outputs, strict=True):
            sums.add(one, other)

    def fit(
        self,
        compensation: Compensation,
        tensors: Mapping[str, Tensor],
        add_up: Callable[[Tensor], Tensor],
    ) -> tuple[float, float] | None:
        """Change the weight, and the constant that is added; return the errors before and after.

        Returns:
            None, and nothing is changed, if what was seen is not finite.
        """
        for sums in self._sums:
            sums.reduce(add_up)
        if not all(sums.finite for sums in self._sums):
            return None
        matrices = self._linear_map.matrices(self.view.of(tensors[self.view.name])).clone()
        errors: list[tuple[float, float]] = []
        written = [sums.mean_features for sums in self._sums]
        if compensation.needs_products:
            errors = self._fit_weights(compensation, matrices)
            weight = self.view.of(tensors[self.view.name])
            weight.copy_(self._linear_map.weight(matrices, weight))
            written = self._means_written(matrices, tensors)
        missing = torch.zeros_like(self._outputs, dtype=torch.float64, device="cpu")
        for kept, sums, mean, out in zip(
            self._outputs.cpu(), self._sums, written, missing, strict=True
        ):
            out[kept] = sums.mean_outputs - mean
        self._add_constants(missing.flatten(), tensors)
        self._sums = []
        return _mean(errors)

    def _fit_weights(
        self, compensation: Compensation, matrices: Tensor
    ) -> list[tuple[float, float]]:
        """Fit the weights of each group in place; return the errors before and after."""
        constant = self._bias is not None or self.norm is not None
        errors = []
        for matrix, where, sums in zip(matrices, self._kept, self._sums, strict=True):
            moments = sums.moments(about_mean=constant)
            now = matrix[where].double().cpu().view(moments.outputs.T.shape)
            new = compensation.fit(moments, now)
            matrix[where] = new.flatten().to(matrix)
            errors.append((moments.error(now), moments.error(new)))
        return errors

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


def _exact(values: Tensor) -> Tensor:
    """Return values in at least 32 bits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _shared(readers: Sequence[_Reader], passes: int) -> list[Sequence[_Reader]]:
    """Return the readers in as many parts of one length, in order."""
    size = -(-len(readers) // max(passes, 1)) or 1
    return [readers[start : start + size] for start in range(0, len(readers), size)]


def _mean(errors: list[tuple[float, float]]) -> tuple[float, float]:
    n = max(len(errors), 1)
    return sum(before for before, _ in errors) / n, sum(after for _, after in errors) / n
