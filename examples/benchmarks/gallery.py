"""Prune and compact real architectures by the packages that have them.

    python examples/benchmarks/gallery.py --filter 'transformers:*' --output gallery

Small configurations with random weights, every norm made random. Half of the units go at random: of
every group by `Channel` and by `Head`, of all residual branches by `Layer`, each on a model of its
own; compaction removes and verifies them. Packages that are missing are named and left out
(`pip install transformers timm diffusers segmentation-models-pytorch`). Writes `OUTPUT.md`, a row
for every model: which share of the parameters can be pruned, which share went by each granularity
("none" where a model has no such units), the largest relative error in float32, how many groups
were kept back, the seconds of processor time, and why, where less than 95% can be pruned or a group
is kept back.
"""

from __future__ import annotations

import argparse
import importlib
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from gallery_models.images import BACKBONES, PIPELINES, SEGMENTERS
from gallery_models.language import MODELS
from gallery_models.own import NETS
from torch import nn
from tqdm import tqdm

import lightning_prune as lp
from lightning_prune.display.tables import format_table
from lightning_prune.granularities.base import Granularity

PACKAGES: dict[str, dict[str, Any]] = {
    "transformers": MODELS,
    "diffusers": PIPELINES,
    "timm": BACKBONES,
    "segmentation_models_pytorch": SEGMENTERS,
    "gallery_models.own": NETS,
}
GRANULARITIES: dict[str, Granularity] = {
    "channel": lp.Channel(),
    "head": lp.Head(),
    "layer": lp.Layer(),
}
COLUMNS = (
    *("model", "parameters", "prunable", "channel", "head", "layer"),
    *("error", "kept back", "seconds", "why"),
)


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="*", help="glob pattern of `package:model`")
    parser.add_argument(
        "--granularity", nargs="+", default=list(GRANULARITIES), choices=list(GRANULARITIES)
    )
    parser.add_argument("--output", type=Path, default=Path("gallery"), help="without an ending")
    options = parser.parse_args()
    rows = []
    for name, build, library in tqdm(list(_chosen(options.filter))):
        rows.append([name, *_row(build, library, options.granularity)])
        lines = ["| " + " | ".join(row) + " |" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows)]
        options.output.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print(format_table(COLUMNS, rows))


def _chosen(pattern: str) -> Iterator[tuple[str, Any, Any]]:
    for package, models in PACKAGES.items():
        names = {model: f"{package.rpartition('.')[2]}:{model}" for model in models}
        names = {model: name for model, name in names.items() if fnmatchcase(name, pattern)}
        if not names:
            continue
        try:
            library = importlib.import_module(package)
        except ImportError:
            print(f"{package} is missing: {len(names)} models are left out")
            continue
        for model, name in names.items():
            yield name, models[model], library


@dataclass
class Row:
    """What became of a model."""

    parameters: int = 0
    prunable: float = 0.0
    removed: dict[str, str] = field(default_factory=dict)
    error: float = 0.0
    kept_back: int = 0
    why: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Return the cells of the table but for the seconds."""
        removed = [self.removed.get(name, "") for name in GRANULARITIES]
        counts = [f"{self.parameters:,}", f"{self.prunable:.1%}", *removed]
        return [*counts, f"{self.error:.0e}", str(self.kept_back)]


def _row(build: Any, library: Any, granularities: Sequence[str]) -> list[str]:
    started = time.process_time()
    row = Row()
    for name in granularities:
        torch.manual_seed(0)
        try:
            model, inputs = build(library)
            _prune(_randomized(model).eval(), inputs, name, row)
        except Exception as error:
            row.removed[name] = "failed"
            row.why.append(f"{name}: {type(error).__name__}: {str(error).partition('. ')[0]}"[:160])
    why = "; ".join(row.why).replace("|", "/").replace("\n", " ")
    return [*row.cells(), f"{time.process_time() - started:.1f}", why]


def _prune(model: nn.Module, inputs: Any, name: str, row: Row) -> None:
    """Prune and compact a model by one granularity, and note in its row what came of it."""
    coupling = lp.couple(model, inputs)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    if not row.parameters:
        row.parameters = sum(p.numel() for p in parameters.values())
        row.prunable = coupling.prunable / row.parameters
        if row.prunable < 0.95:
            reasons = Counter(frozen.reason for frozen in coupling.frozen)
            row.why += [reason for reason, _ in reasons.most_common(2)]
    if not GRANULARITIES[name].groups(parameters, coupling.structure):
        row.removed[name] = "none"
        return
    lp.prune(
        model,
        inputs,
        sparsity=0.5,
        criterion=lp.Random(),
        granularity=GRANULARITIES[name],
        allocation=lp.Global() if name == "layer" else lp.Uniform(),
        of="units",
    )
    report = lp.compact(model, inputs, latency=False)
    row.removed[name] = f"{1 - report.params_after / report.params_before:.1%}"
    row.error = max(row.error, report.max_rel_error)
    row.kept_back += len(report.refused)
    row.why += [f"{name}, {group}: {why}"[:160] for group, why in report.refused.items()]


@torch.no_grad()
def _randomized(model: nn.Module) -> nn.Module:
    """Make norms and biases random, so that exactness means something."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.copy_(torch.rand_like(parameter) + 0.5)
    return model


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
