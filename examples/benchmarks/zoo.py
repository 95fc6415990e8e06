"""Compact every torchvision model: what can be pruned, what goes, how exact it is.

    python examples/benchmarks/zoo.py --filter 'resnet*' --output zoo
    python examples/benchmarks/zoo.py --granularity layer --output branches

Random weights, with every norm and every parameter that starts at zero made random, so that
exactness means something. Half of the units of every group are zeroed on both sides; compaction
removes and verifies them. `half_of_parameters` is what would go if half of the prunable parameters
were asked for instead. With `--granularity layer`, half of the residual branches go. `seconds` are
seconds of processor time. Writes `OUTPUT.csv`, one row as soon as a model is done, and the same as
a Markdown table in `OUTPUT.md`; `--resume` keeps the rows that are there, but for failures.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from tqdm import tqdm

import lightning_prune as lp
from lightning_prune.compaction import plan_removal
from lightning_prune.coupling import Coupling
from lightning_prune.units.cost import element_cost
from lightning_prune.units.masks import find_dead

COLUMNS = (
    "model",
    "parameters",
    "prunable_share",
    "removed_share",
    "half_of_parameters",
    "max_rel_error",
    "groups",
    "refused",
    "seconds",
    "reasons",
    "not_compared",
    "failure",
)

BY_CHANCE: dict[str, Any] = {"criterion": lp.Random(), "of": "units"}


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="*", help="glob pattern of model names")
    parser.add_argument("--granularity", default="channel", choices=["channel", "layer"])
    parser.add_argument("--jobs", type=int, default=1, help="models at the same time")
    parser.add_argument("--output", type=Path, default=Path("zoo"), help="without an ending")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    arguments = parser.parse_args()
    table = arguments.output.with_suffix(".csv")
    rows = _read(table) if arguments.resume and table.exists() else []
    rows = [row for row in rows if not row["failure"]]
    done = {row["model"] for row in rows}
    names = [
        name for name in model_names() if fnmatchcase(name, arguments.filter) and name not in done
    ]
    with ProcessPoolExecutor(arguments.jobs, max_tasks_per_child=1) as pool:
        futures = [pool.submit(run, name, arguments.granularity, arguments.jobs) for name in names]
        for future in tqdm(as_completed(futures), total=len(futures)):
            rows.append(future.result())
            _write(table, sorted(rows, key=lambda row: row["model"]))


def run(name: str, granularity: str = "channel", jobs: int = 1) -> dict[str, Any]:
    """Compact one model and return its row.

    Args:
        name: as torchvision registers it.
        granularity: ``"channel"`` or ``"layer"``.
        jobs: how many run beside each other, to share the cores.
    """
    warnings.simplefilter("ignore")
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"model": name}
    try:
        model, inputs = build(name)
        started = time.process_time()
        coupling = lp.couple(model, inputs)
        row["parameters"] = sum(p.numel() for p in model.parameters())
        if granularity == "layer":
            groups = coupling.structure.branches
            lp.prune(model, inputs, sparsity=0.5, granularity=lp.Layer(), **BY_CHANCE)
        else:
            groups = coupling.groups
            _prune(model, inputs, "units")
        prunable = element_cost(groups, coupling.shapes).prunable
        row["prunable_share"] = f"{prunable / row['parameters']:.3f}"
        row["groups"] = len(groups)
        report = lp.compact(model, inputs, latency=False)
        row["removed_share"] = f"{1 - report.params_after / report.params_before:.3f}"
        row["max_rel_error"] = f"{report.max_rel_error:.1e}"
        row["refused"] = len(report.refused)
        row["reasons"] = "; ".join(f"{name}: {why}" for name, why in report.refused.items())
        row["not_compared"] = "; ".join(report.untried)
        row["seconds"] = f"{time.process_time() - started:.1f}"
        if granularity == "channel":
            row["half_of_parameters"] = f"{_half_of_parameters(name, coupling):.3f}"
    except Exception as error:  # a row for every model, whatever happens
        row["failure"] = f"{type(error).__name__}: {error}".replace("\n", " ")[:500]
    return row


def _prune(model: nn.Module, inputs: Any, of: Any) -> None:
    lp.prune(
        model,
        inputs,
        sparsity=0.5,
        criterion=lp.Random(),
        granularity=lp.Channel(),
        allocation=lp.Uniform(),
        of=of,
    )


def _half_of_parameters(name: str, coupling: Coupling) -> float:
    """Return the share of all parameters that goes if half of the prunable ones are asked for."""
    model, inputs = build(name)
    _prune(model, inputs, "parameters")
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    plan = plan_removal(coupling.groups, find_dead(coupling.groups, parameters))
    left = {name: list(p.shape) for name, p in parameters.items()}
    for axis, positions in plan.kept.items():
        if axis.tensor in left:
            left[axis.tensor][axis.dim] = len(positions)
    total = sum(p.numel() for p in parameters.values())
    return 1 - sum(math.prod(shape) for shape in left.values()) / total


def build(name: str) -> tuple[nn.Module, Any]:
    """Return a model with random weights, in eval mode, and inputs for it."""
    torch.manual_seed(0)
    options: dict[str, Any] = (
        {"weights_backbone": None} if family_of(name) in {"segmentation", "detection"} else {}
    )
    if name.startswith(("fcos", "retinanet")) or "rcnn" in name:
        options |= {"min_size": 160, "max_size": 224}  # they enlarge pictures to 800 pixels
    if "rcnn" in name:  # as many proposals as small pictures need
        options |= {"rpn_pre_nms_top_n_test": 200, "rpn_post_nms_top_n_test": 100}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    with torch.no_grad():
        for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and (tensor.dim() < 2 or not tensor.any()):
                centred = key.endswith(("bias", "running_mean"))
                tensor.copy_(torch.rand_like(tensor) + (-0.5 if centred else 0.5))
    return model, inputs_of(name)


def inputs_of(name: str) -> Any:
    """Return inputs for a model, as small as it lets them be."""
    family = family_of(name)
    if family == "detection":
        return ([torch.rand(3, 160, 160), torch.rand(3, 128, 160)],)
    if family == "optical_flow":
        return (torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128))
    if family == "video":
        size = 224 if name.startswith(("mvit", "s3d")) else 112
        return torch.rand(1, 3, 16, size, size)
    if family == "segmentation":
        return torch.rand(1, 3, 128, 128)
    fixed = name.startswith(("vit", "maxvit", "inception", "swin"))
    return torch.rand(1, 3, _crop_size(name) if fixed else 96, _crop_size(name) if fixed else 96)


def _crop_size(name: str) -> int:
    if name == "vit_h_14":
        return 224  # its best weights were trained on larger images than it is built for
    size = torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size
    return int(size[0] if isinstance(size, (list, tuple)) else size)


def family_of(name: str) -> str:
    """Return the kind of task of a model, ``"classification"`` if no other."""
    for family in ("segmentation", "detection", "video", "optical_flow"):
        if name in torchvision.models.list_models(getattr(torchvision.models, family)):
            return family
    return "classification"


def model_names() -> list[str]:
    """Return the names of all models but those that are quantized."""
    return [name for name in torchvision.models.list_models() if not name.startswith("quantized_")]


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| " + " | ".join(COLUMNS) + " |", "| " + " | ".join("---" for _ in COLUMNS) + " |"]
    lines += ["| " + " | ".join(str(row[c]) for c in COLUMNS) + " |" for row in rows]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
