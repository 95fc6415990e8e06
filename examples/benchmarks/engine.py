"""Graph, choice and cut: seconds of this package and of Torch-Pruning, on torchvision's models.

    pip install --no-deps torch-pruning   # 1.6.1, only to compare
    python examples/benchmarks/engine.py
    python examples/benchmarks/engine.py --models all --ways cut Torch-Pruning --repeats 1

Half of the channels of every group go by magnitude, and the model is physically cut. ``cut`` is
that without verification, as for a copy to be measured; ``verified`` is what a user gets: the same
with every proof, and held to the masked model. The rival does not verify. Every figure is the
processor time of one thread in a process of its own, after a first cut of a tiny network, the least
of several runs. A model that a tool cannot cut, or that does not run afterwards, is said to be so.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from zoo import family_of, inputs_of, model_names

import lightning_prune as lp
from lightning_prune.compaction.compact_twin import compact_twin
from lightning_prune.display.tables import format_table
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.pruning import BasePruner, Recipe, find_prunable

MODELS = (
    "resnet18 resnet50 mobilenet_v2 mobilenet_v3_large vgg16_bn densenet121 densenet201 googlenet "
    "efficientnet_b0 convnext_tiny vit_b_16 swin_t"
).split()
SPARSITY = 0.5
_LETTERS = 60
_MOST_SECONDS = 120
_MOST_BYTES = 12 * 2**30
"""A process that takes more memory has failed; it must not take that of others."""


_ASKED: dict[str, Any] = {
    "criterion": lp.Magnitude(),
    "allocation": lp.Uniform(),
    "of": "units",
}


def cut(model: nn.Module, inputs: Any) -> nn.Module:
    """Zero half of the channels and return a compact copy, without verification.

    The model is coupled once, as it is for the copies that a target in milliseconds is measured on.
    """
    recipe = Recipe(SPARSITY, granularity=lp.Channel(), **_ASKED)
    prunable = find_prunable(recipe, model, inputs)
    BasePruner(model, recipe, prunable).update(SPARSITY)
    return compact_twin(model, ExampleInputs.of(inputs), coupling=prunable.coupling)


def verified(model: nn.Module, inputs: Any) -> nn.Module:
    """Zero half of the channels and compact the model, verified."""
    lp.prune(model, inputs, sparsity=SPARSITY, **_ASKED)
    lp.compact(model, inputs, latency=False)
    return model


def rival(model: nn.Module, inputs: Any) -> nn.Module:
    """Cut half of the channels by Torch-Pruning, as its documents have it."""
    import torch_pruning as tp

    outputs = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1:]
    attentions = [m for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
    tp.pruner.MagnitudePruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=SPARSITY,
        ignored_layers=outputs,
        num_heads={attention: attention.num_heads for attention in attentions},
    ).step()
    return model


WAYS: dict[str, Callable[[nn.Module, Any], nn.Module]] = {
    "cut": cut,
    "verified": verified,
    "Torch-Pruning": rival,
}


def measure(way: str, name: str) -> dict[str, float | str]:
    """Cut one model.

    Args:
        way: a key of `WAYS`.
        name: of a model of torchvision.

    Returns:
        Seconds, and the fraction of the parameters that is left; or why there are none.
    """
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, inputs = _build(name)
    tiny = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4))
    WAYS[way](tiny, torch.randn(1, 3, 2, 2))  # what is loaded at the first call
    gc.collect()  # what imports have left behind is no one's work
    before, started_s = _parameters(model), time.process_time()
    try:
        small = WAYS[way](model, inputs)
        seconds = time.process_time() - started_s
        with torch.no_grad():
            small(*inputs) if isinstance(inputs, tuple) else small(inputs)
    except Exception as error:  # whatever a tool raises
        return {"failure": f"{type(error).__name__}: {error}".split("\n")[0][:_LETTERS]}
    return {"seconds": seconds, "left": _parameters(small) / before}


def _build(name: str) -> tuple[nn.Module, Any]:
    """Return a model as its weights are initialised, in eval mode, and inputs for it."""
    if (family := family_of(name)) != "classification":
        options: dict[str, Any] = (
            {"weights_backbone": None} if family in {"segmentation", "detection"} else {}
        )
        return torchvision.models.get_model(name, weights=None, **options).eval(), inputs_of(name)
    options = {"init_weights": True} if name in {"googlenet", "inception_v3"} else {}
    size = 299 if name == "inception_v3" else 224
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    return model, torch.randn(1, 3, size, size)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def measured(name: str, ways: Sequence[str], repeats: int) -> dict[str, dict[str, float | str]]:
    """Return the best of several runs of each way, in turns, each in a process of its own."""
    best: dict[str, dict[str, float | str]] = {}
    for _ in range(repeats):
        for way in ways:
            command = [sys.executable, __file__, "--one", way, name]
            found = _in_a_process(command)
            known = best.get(way, found)
            best[way] = min(known, found, key=lambda one: float(one.get("seconds", 0.0)))
    return best


def _in_a_process(command: Sequence[str]) -> dict[str, float | str]:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return {"failure": f"not done after {_MOST_SECONDS} s"}
    if run.returncode:
        return {
            "failure": (run.stderr.splitlines() or [f"ended by {run.returncode}"])[-1][:_LETTERS]
        }
    found: dict[str, float | str] = json.loads(run.stdout.splitlines()[-1])
    return found


def row_of(name: str, found: dict[str, dict[str, float | str]]) -> list[str]:
    """Return one line of the table."""
    cells = [name]
    for way in WAYS:
        one = found.get(way, {"failure": "-"})
        cells.append(str(one["failure"]) if "failure" in one else f"{float(one['seconds']):.2f}")
    cells += [_ratio(found, "cut"), _ratio(found, "verified")]
    cells += [
        f"{float(found[way]['left']):.2f}" if "left" in found.get(way, {}) else ""
        for way in ("cut", "Torch-Pruning")
    ]
    return cells


def _ratio(found: dict[str, dict[str, float | str]], way: str) -> str:
    """Return how many times as long the rival takes."""
    ours, theirs = (found.get(key, {}).get("seconds") for key in (way, "Torch-Pruning"))
    return f"{float(theirs) / float(ours):.1f}" if ours and theirs else ""


def totals(rows: dict[str, dict[str, dict[str, float | str]]]) -> list[str]:
    """Return the sums over the models that every way could cut."""
    common = [found for found in rows.values() if all("seconds" in one for one in found.values())]
    ways = next(iter(rows.values())).keys()
    sums: dict[str, dict[str, float | str]] = {
        way: {"seconds": sum(float(f[way]["seconds"]) for f in common)} for way in ways
    }
    return [*row_of(f"all ({len(common)})", sums)[:6], "", ""]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS, help='names, or "all"')
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="where to write the seconds")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "MODEL"), help="measure in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    found = {}
    names = model_names() if arguments.models == ["all"] else arguments.models
    for name in names:
        found[name] = measured(name, arguments.ways, arguments.repeats)
        print(*row_of(name, found[name]), file=sys.stderr)
    head = ["model", *WAYS, "ratio", "verified ratio", "left", "left by Torch-Pruning"]
    rows = [row_of(name, one) for name, one in found.items()]
    rows.append(totals(found))
    print(f"torch {torch.__version__}, torch-pruning {_rival_version()}, 1 thread, seconds")
    print(format_table(head, rows))
    print("\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]))
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])


def _rival_version() -> str:
    try:
        return version("torch-pruning")
    except PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    main()
