"""What the command can do: one function for each word; its docstring is the help."""

from __future__ import annotations

from dataclasses import asdict
from json import loads
from pathlib import Path
from typing import Any

from lightning_prune.command.loading import as_json, inputs_of, model_of
from lightning_prune.compaction.verification import Verification
from lightning_prune.coupling import couple
from lightning_prune.criteria import Criterion, Magnitude
from lightning_prune.display.tables import format_table
from lightning_prune.export import export_model
from lightning_prune.granularities import Channel, Granularity
from lightning_prune.measure import count_parameters
from lightning_prune.modules.inputs import examples_of
from lightning_prune.pruning import plan as plan_pruning


def inspect(
    model: str,
    *,
    input: str = "",
    weights: str | None = None,
    details: bool = False,
    plot: str = "",
    json: bool = False,
) -> str:
    """Say which units a model has, what is frozen, and why.

    Args:
        model: module:factory, such as torchvision.models:resnet18.
        input: sizes of the input, such as 1,3,224,224, or int:1,16 for whole numbers; with spaces
            between those of several arguments.
        weights: a file with the model's weights.
        details: every member of every group, and every reason.
        plot: a file for a figure of the groups, such as groups.png.
        json: print JSON.

    Returns:
        The coupling, as text.
    """
    made = model_of(model, weights)
    coupling = couple(made, inputs_of(input))
    if plot:
        coupling.plot().figure.savefig(plot)  # type: ignore[union-attr]
    if not json:
        return coupling.details() if details else str(coupling)
    groups = [
        {"name": g.name, "units": g.units, "axes": [str(m.axis) for m in g.parameters]}
        for g in coupling.groups
    ]
    frozen = [asdict(f) | {"axis": str(f.axis)} for f in coupling.frozen]
    total = count_parameters(made)
    share = {"parameters": total, "prunable": coupling.prunable, "share": coupling.prunable / total}
    return as_json({**share, "groups": groups, "frozen": frozen, "unused": list(coupling.unused)})


def plan(
    model: str,
    *,
    sparsity: float | None = None,
    latency_ms: float | None = None,
    input: str = "",
    weights: str | None = None,
    criterion: Criterion = Magnitude(),  # noqa: B008
    granularity: Granularity = Channel(),  # noqa: B008
    of: str = "parameters",
    include: str = "",
    exclude: str = "",
    json: bool = False,
) -> str:
    """Say what pruning would remove, and what compaction would leave; nothing changes.

    Args:
        model: module:factory, such as torchvision.models:resnet18.
        sparsity: the fraction to remove, in [0, 1).
        latency_ms: in place of a sparsity, the milliseconds that are to be left, measured here.
        input: sizes of the input, as for inspect.
        weights: a file with the model's weights.
        criterion: what scores the weights.
        granularity: what is removed.
        of: of what the sparsity is a fraction: parameters, macs, units or latency.
        include: glob patterns of module names to prune, with commas between; by default all.
        exclude: glob patterns of module names to leave alone.
        json: print JSON.

    Returns:
        The plan, as text.
    """
    found = plan_pruning(
        model_of(model, weights),
        inputs_of(input),
        sparsity=sparsity,
        latency_ms=latency_ms,
        criterion=criterion,
        granularity=granularity,
        of=of,  # type: ignore[arg-type]  # checked there
        include=_listed(include) or None,
        exclude=_listed(exclude),
    )
    return as_json(asdict(found)) if json else str(found)


def verify(
    model: str,
    before: str,
    after: str,
    *,
    input: str = "",
    json: bool = False,
) -> str:
    """Compare what two files of weights compute, as a compaction does: in both modes, many inputs.

    Args:
        model: module:factory that makes the model in full size.
        before: weights of the masked model.
        after: weights of the compact model.
        input: sizes of the input, as for inspect.
        json: print JSON.

    Returns:
        The largest errors, and what was tried, as text.
    """
    first, second = model_of(model, before), model_of(model, after)
    verification = Verification(first, examples_of(inputs_of(input)))
    errors = verification.check(second)
    found = {"max_abs_error": errors.max_abs_error, "max_rel_error": errors.max_rel_error}
    tried = {"tried": list(verification.tried), "untried": list(verification.untried)}
    if json:
        return as_json({**found, **tried})
    numbers = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
    lines = [f"the same: {numbers}", *(f"{name}: {'; '.join(of)}" for name, of in tried.items())]
    return "\n".join(line for line in lines if not line.endswith(": "))


def export(
    model: str,
    file: str,
    *,
    input: str = "",
    formats: str = "onnx",
    path: str | None = None,
    json: bool = False,
) -> str:
    """Write a model for other runtimes, run it there, compare and measure.

    Args:
        model: module:factory that makes the model in full size.
        file: its weights, such as save_compact wrote.
        input: sizes of the input, as for inspect.
        formats: onnx, openvino, executorch, torch.export, onnx-int8-dynamic, with commas between.
        path: where to write, without an ending; by default beside the file.
        json: print JSON.

    Returns:
        The report, as text.
    """
    target = path if path is not None else str(Path(file).with_suffix(""))
    made, inputs = model_of(model, file), inputs_of(input)
    found: Any = export_model(made, inputs, target, formats=_listed(formats))
    return as_json(asdict(found)) if json else str(found)


def report(run: str, *, json: bool = False) -> str:
    """Say what a run with the callback Report, or write_report, has come to.

    Args:
        run: its log directory, or the report.json in it.
        json: print JSON.

    Returns:
        What was asked, reached and measured, as text.

    Raises:
        ValueError: if there is no report.
    """
    path = Path(run) / "report.json" if Path(run).is_dir() else Path(run)
    try:
        data = loads(path.read_text())
        if json:
            return as_json(data)
        tables = [
            format_table(columns, [[_cell(row[name]) for name in columns] for row in data[section]])
            for section, columns in _SECTIONS.items()
            if data[section]
        ]
        page = path.with_suffix(".html")
        shown = [f"the page: {page}"] if page.exists() else []
        return "\n\n".join([f"{data['title']}: {data['status']}", *tables, *shown])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"Expected `run` to be a folder with a report.json of Report, but got {run} "
            f"({type(error).__name__}: {error}). Add the callback Report to the run."
        ) from error


_SECTIONS = {
    "goals": ("name", "of", "asked", "reached"),
    "changes": ("what", "before", "after", "ratio"),
    "timings": ("what", "backend", "batch_size", "p50_ms", "p95_ms", "speedup", "low", "high"),
    "reasons": ("what", "name", "reason"),
}
"""The sections of a report that are told in a terminal, and their columns."""


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) and not value.is_integer() else str(value)


def _listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


COMMANDS: dict[str, Any] = {
    "inspect": inspect,
    "plan": plan,
    "verify": verify,
    "export": export,
    "report": report,
}
