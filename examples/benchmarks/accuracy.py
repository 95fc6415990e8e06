"""Accuracy after pruning: every criterion at several sparsities, over several seeds.

    python examples/benchmarks/accuracy.py --output runs/accuracy --jobs 2

On scikit-learn's handwritten digits. For every seed one dense network is trained; every run starts
from that same checkpoint, scores for one epoch, is pruned in one shot, and recovers for the same
number of epochs at the same learning rate. Reported is the test accuracy after the **last** epoch,
never the best, as mean and standard deviation over the seeds. Controls: the dense network trained
for as many epochs more, and random pruning. Weights are ranked globally; channels lose the same
fraction in every layer, as sparsity of the prunable parameters. With `--ways` channels are also
pruned with compensation, or gradually over the first half of the same epochs, or both.

Writes `OUTPUT.csv`, one row as soon as a run is done, a Markdown table in `OUTPUT.md` and a plot in
`OUTPUT.png`; `--resume` keeps the rows that are there. Dense checkpoints lie beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import logging
import statistics
import sys
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from pathlib import Path

import lightning as L
import torch
from tqdm import tqdm

import lightning_prune as lp

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "digits"))
from data import DigitsData
from model import DigitsClassifier

CRITERIA: dict[str, lp.Criterion] = {
    "Gradient": lp.Gradient(),
    "Taylor": lp.Taylor(),
    "Taylor squared": lp.Taylor(squared=True),
    "Fisher": lp.Fisher(),
    "Movement": lp.Movement(),
    "Snip": lp.Snip(),
    "Magnitude": lp.Magnitude(),
    "Lamp": lp.Lamp(),
    "Wanda": lp.Wanda(),
    "SynFlow": lp.SynFlow(),
    "GeometricMedian": lp.GeometricMedian(),
    "BatchNormScale": lp.BatchNormScale(),
    "ActivationRate": lp.ActivationRate(),
    "Random": lp.Random(),
}
# What scores whole units has nothing to say of single weights, nor Wanda of depthwise ones.
ONLY = {
    "Taylor squared": "channels",
    "GeometricMedian": "channels",
    "BatchNormScale": "channels",
    "ActivationRate": "channels",
    "Lamp": "weights",
}
DENSE = "dense, trained longer"
COMPENSATED, GRADUAL = " + LeastSquares", ", gradual"
WAYS = {
    "plain": "",
    "compensated": COMPENSATED,
    "gradual": GRADUAL,
    "both": GRADUAL + COMPENSATED,
}
"""How channels are pruned by a criterion: what is put behind its name."""


@dataclass(frozen=True)
class Run:
    """One run, and what came out.

    Args:
        granularity: ``"channels"`` or ``"weights"``.
        criterion: its name here with the way, or that of the control.
        sparsity: fraction of the prunable parameters removed; 0 for the control.
        seed: of the dense network, the order of the data and random pruning.
        accuracy: on the test images after the last epoch.
        reached: the sparsity that was reached.
    """

    granularity: str
    criterion: str
    sparsity: float
    seed: int
    accuracy: float = 0.0
    reached: float = 0.0

    @property
    def key(self) -> tuple[str, str, float, int]:
        """What tells runs apart."""
        return self.granularity, self.criterion, self.sparsity, self.seed


@dataclass(frozen=True)
class Setting:
    """What all runs share.

    Args:
        width: of the network.
        epochs: of the dense training.
        recovery: epochs after the pruning.
        learning_rate: after the dense training, constant.
        folder: where dense checkpoints lie.
    """

    width: int
    epochs: int
    recovery: int
    learning_rate: float
    folder: Path


class Recovery(DigitsClassifier):
    """The network of the example under a constant learning rate."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(
            self.parameters(),
            self.hparams["learning_rate"],
            weight_decay=self.hparams["weight_decay"],
        )


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA), choices=list(CRITERIA))
    parser.add_argument("--granularities", nargs="+", default=["channels", "weights"])
    parser.add_argument("--ways", nargs="+", default=["plain"], choices=list(WAYS))
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.5, 0.75, 0.9, 0.95])
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--width", type=int, default=32, help="of the network")
    parser.add_argument("--epochs", type=int, default=20, help="of the dense training")
    parser.add_argument("--recovery", type=int, default=10, help="epochs after the pruning")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="after the dense part")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--output", type=Path, default=Path("accuracy"), help="without an ending")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    table = arguments.output.with_suffix(".csv")
    done = _read(table) if arguments.resume and table.exists() else []
    setting = Setting(
        arguments.width,
        arguments.epochs,
        arguments.recovery,
        arguments.learning_rate,
        arguments.output.parent,
    )
    keys = {run.key for run in done}
    names = [name + WAYS[way] for name in arguments.criteria for way in arguments.ways]
    asked = _asked(arguments.granularities, names, arguments.sparsities, arguments.seeds)
    missing = [run for run in asked if run.key not in keys]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        seeds = {run.seed for run in missing}
        list(pool.map(train_dense, itertools.repeat(setting), seeds))
        futures = [pool.submit(execute, setting, run) for run in missing]
        for future in tqdm(as_completed(futures), total=len(futures)):
            done.append(future.result())
            _write(table, sorted(done, key=lambda run: run.key))
    arguments.output.with_suffix(".md").write_text(summarise(done) + "\n")
    draw(done, arguments.output.with_suffix(".png"))
    print(summarise(done))


def _asked(
    granularities: Iterable[str], criteria: Iterable[str], sparsities: Iterable[float], seeds: int
) -> list[Run]:
    """Return every run that makes sense, the controls among them."""
    combinations = itertools.product(granularities, criteria, sparsities)
    words = [(g, c, s) for g, c, s in combinations if _makes_sense(c, g)]
    words += [(granularity, DENSE, 0.0) for granularity in granularities]
    return [Run(g, c, s, seed) for seed in range(seeds) for g, c, s in words]


def _makes_sense(name: str, granularity: str) -> bool:
    base = _base(name)
    return ONLY.get(base, granularity) == granularity and (
        name == base or granularity == "channels"
    )


def _base(name: str) -> str:
    """Return the criterion of a name with its way."""
    return name.removesuffix(COMPENSATED).removesuffix(GRADUAL)


def train_dense(setting: Setting, seed: int) -> None:
    """Train the dense network of a seed, unless that is done."""
    path = _dense_path(setting, seed)
    if path.exists():
        return
    _quiet()
    L.seed_everything(seed, verbose=False)
    model = DigitsClassifier(width=setting.width, latency_batch_size=4)
    _trainer(setting.epochs).fit(model, DigitsData())
    torch.save(model.state_dict(), path)


def execute(setting: Setting, run: Run) -> Run:
    """Prune the dense network, let it recover and test it.

    Args:
        setting: what all runs share.
        run: what to do.

    Returns:
        The run with its accuracy and sparsity.
    """
    _quiet()
    L.seed_everything(run.seed, verbose=False)
    model = Recovery(width=setting.width, learning_rate=setting.learning_rate, latency_batch_size=4)
    model.load_state_dict(torch.load(_dense_path(setting, run.seed), weights_only=True))
    pruning = None if run.criterion == DENSE else _pruning(run, setting.recovery)
    trainer = _trainer(1 + setting.recovery, *([] if pruning is None else [pruning]))
    data = DigitsData()
    with contextlib.redirect_stdout(io.StringIO()):  # the bar is enough
        trainer.fit(model, data)
    (results,) = trainer.test(model, data, verbose=False)
    reached = 0.0 if pruning is None or pruning.report is None else pruning.report.sparsity
    return Run(*run.key, accuracy=results["test/accuracy"], reached=reached)


def _pruning(run: Run, recovery: int) -> lp.Pruning:
    """Return the callback that prunes after one epoch of scoring, or over half of the epochs."""
    base = _base(run.criterion)
    criterion = lp.Random(run.seed) if base == "Random" else CRITERIA[base]
    channels = run.granularity == "channels"
    gradual = GRADUAL in run.criterion
    return lp.Pruning(
        run.sparsity,
        criterion,
        granularity=lp.Channel() if channels else lp.Weight(),
        allocation=lp.Uniform() if channels else lp.Global(),
        schedule=lp.Cubic(start_epoch=0, end_epoch=max(1, recovery // 2))
        if gradual
        else lp.OneShot(epoch=1),
        compensation=lp.LeastSquares() if run.criterion.endswith(COMPENSATED) else None,
        # A depthwise kernel is read by no layer that Wanda watches.
        exclude=["*.depthwise"] if base == "Wanda" and not channels else [],
    )


def _dense_path(setting: Setting, seed: int) -> Path:
    return setting.folder / f"dense-{setting.width}-{setting.epochs}-{seed}.pt"


def _trainer(epochs: int, *callbacks: L.Callback) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )


def _quiet() -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)


def summarise(runs: list[Run]) -> str:
    """Return a Markdown table for each granularity: criteria by sparsities, mean ± deviation."""
    tables = []
    for granularity in sorted({run.granularity for run in runs}):
        mine = [run for run in runs if run.granularity == granularity]
        sparsities = sorted({run.sparsity for run in mine} - {0.0})
        header = [granularity, *(f"{sparsity:.0%}" for sparsity in sparsities)]
        rows = [header, ["---"] * len(header)]
        for criterion in [*_rows(mine), DENSE]:
            cells = [
                _cell([r.accuracy for r in mine if (r.criterion, r.sparsity) == (criterion, s)])
                for s in (sparsities if criterion != DENSE else [0.0] * len(sparsities))
            ]
            if any(cells):
                rows.append([criterion, *cells])
        tables.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(tables)


def _rows(runs: list[Run]) -> list[str]:
    """Return the names of the rows that there may be, in their order."""
    names = [name + way for name in CRITERIA for way in WAYS.values()]
    found = {run.criterion for run in runs}
    return [name for name in names if name in found]


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


def draw(runs: list[Run], path: Path) -> None:
    """Draw the test error over the sparsity, a panel for each granularity."""
    import matplotlib
    from matplotlib.figure import Figure

    granularities = sorted({run.granularity for run in runs})
    figure = Figure(figsize=(7 * len(granularities), 5), layout="constrained")
    panels = figure.subplots(1, len(granularities), squeeze=False, sharey=True)[0]
    shades = itertools.cycle(map(matplotlib.colormaps["tab20"], range(20)))
    colors = dict(zip(_rows(runs), shades, strict=False))
    for panel, granularity in zip(panels, granularities, strict=True):
        errors: dict[str, dict[float, list[float]]] = {}
        for run in runs:
            if run.granularity == granularity:
                of_criterion = errors.setdefault(run.criterion, {})
                of_criterion.setdefault(run.sparsity, []).append(1 - run.accuracy)
        for criterion, color in colors.items():
            means = [(s, statistics.mean(v)) for s, v in sorted(errors.get(criterion, {}).items())]
            if means:
                panel.plot(*zip(*means, strict=True), marker=".", color=color, label=criterion)
        for values in errors.get(DENSE, {}).values():
            panel.axhline(statistics.mean(values), color="black", linestyle=":", label=DENSE)
        panel.set(title=granularity, xlabel="sparsity", yscale="log")
        panel.grid(alpha=0.3, which="both")
        panel.legend(fontsize="small")
    panels[0].set_ylabel("test error, mean")
    figure.savefig(path, dpi=100)


def _read(path: Path) -> list[Run]:
    with path.open() as file:
        return [
            Run(
                row["granularity"],
                row["criterion"],
                float(row["sparsity"]),
                int(row["seed"]),
                float(row["accuracy"]),
                float(row["reached"]),
            )
            for row in csv.DictReader(file)
        ]


def _write(path: Path, runs: list[Run]) -> None:
    names = [field.name for field in fields(Run)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({name: getattr(run, name) for name in names} for run in runs)


if __name__ == "__main__":
    main()
