"""Prune and compact real architectures by the packages that have them.

    python examples/benchmarks/gallery.py --filter 'transformers:*' --output gallery

Small configurations with random weights, every norm made random. Half of the units of every group
go at random, by `--granularity` channel, head or layer; compaction removes and verifies them.
Packages that are missing are named and left out (`pip install transformers timm diffusers`). Writes
`OUTPUT.md`: what can be pruned, what went, how exact it is, what was kept back and why, seconds.
"""

from __future__ import annotations

import argparse
import importlib
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from gallery_models.images import BACKBONES, PIPELINES
from gallery_models.language import MODELS
from torch import nn
from tqdm import tqdm

import lightning_prune as lp
from lightning_prune.display.tables import format_table

PACKAGES: dict[str, dict[str, Any]] = {
    "transformers": MODELS,
    "diffusers": PIPELINES,
    "timm": BACKBONES,
}
GRANULARITIES = {"channel": lp.Channel(), "head": lp.Head(), "layer": lp.Layer()}
COLUMNS = ("model", "prunable", "parameters", "left", "error", "kept back", "seconds", "why")


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="*", help="glob pattern of `package:model`")
    parser.add_argument("--granularity", default="channel", choices=list(GRANULARITIES))
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
        names = [name for name in models if fnmatchcase(f"{package}:{name}", pattern)]
        if not names:
            continue
        try:
            library = importlib.import_module(package)
        except ImportError:
            print(f"{package} is missing: {len(names)} models are left out")
            continue
        for name in names:
            yield f"{package}:{name}", models[name], library


def _row(build: Any, library: Any, granularity: str) -> list[str]:
    torch.manual_seed(0)
    started = time.process_time()
    try:
        model, inputs = build(library)
        model = _randomized(model).eval()
        coupling = lp.couple(model, inputs)
        total = sum(parameter.numel() for parameter in model.parameters())
        share = coupling.prunable / total
        half: dict[str, Any] = {"sparsity": 0.5, "criterion": lp.Random(), "of": "units"}
        lp.prune(model, inputs, granularity=GRANULARITIES[granularity], **half)
        report = lp.compact(model, inputs, latency=False)
    except Exception as error:
        first = str(error).partition(". ")[0][:120]
        return ["", "", "", "", "", "", f"{type(error).__name__}: {first}"]
    why = [f"{name}: {reason}"[:160] for name, reason in report.refused.items()]
    if share < 0.95:
        reasons = Counter(frozen.reason for frozen in coupling.frozen)
        why += [reason for reason, _ in reasons.most_common(2)]
    return [
        f"{share:.1%}",
        f"{report.params_before:,}",
        f"{report.params_after / report.params_before:.1%}",
        f"{report.max_rel_error:.0e}",
        str(len(report.refused)),
        f"{time.process_time() - started:.1f}",
        "; ".join(why).replace("|", "/").replace("\n", " "),
    ]


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
