"""Reports of every kind of content, and of what may go wrong in it."""

from lightning_prune.report.content import (
    Change,
    Goal,
    Histogram,
    LayerRow,
    Reason,
    RunReport,
    Series,
    Timing,
    Trade,
    Update,
    Width,
)

HOSTILE = "<script>alert('$x$')</script>&\"\n\x00\ud800$_\\"
"""A name that would break a page, a formula, a file or a line, were it not escaped."""


def full_report(name: str = "conv1") -> RunReport:
    """Return a report in which every section has content; ``name`` is every name in it."""
    layer = LayerRow(name, name, (8, 3, 3, 3), 216, 13824, 0.25, (5, 3, 3, 3), 135, 8640, 0.125)
    bare = LayerRow("", name, (), 0, 0, 0.0625)
    return RunReport(
        title=name,
        status=name,
        goals=(Goal(name, "parameters", 0.75, 0.7421875, {name: name}),),
        changes=(
            Change(name, "count", 4096.0, 1024.0, 4.0),
            Change("bytes", "bytes", 8192, 0, None),
            Change("latency p50", "ms", 6.5, 3.25, 2.0),
        ),
        widths=(Width(name, 8, 5), Width("b", 16, 16)),
        layers=(bare, layer),
        histograms=(
            Histogram(name, 12, True, (0.1, 1.0, 10.0), (2, 3), (5, 0), 2),
            Histogram("b", 3, False, (-1.0, 0.0, 1.0), (1, 1), (1, 0)),
        ),
        series=(
            Series(f"{name}/sparsity", "sparsity", (0, 10, 20), (0.0, 0.5, 0.75)),
            Series("pruning/target", "sparsity", (0, 10, 20), (0.0, 0.5, 0.75)),
            Series(f"{name}_accuracy", "accuracy", (10, 20), (0.875, 0.9375)),
            Series("latency/p50_ms", "latency", (10, 20), (6.5, float("nan"))),
        ),
        epochs=(10, 20),
        updates=(Update(name, 10, 1, 0.5, 0.4921875), Update(name, 15, 1, 0.75, 0.7421875)),
        timings=(
            Timing(name, "eager", 32, "cpu", 2, 6.5, 7.5),
            Timing("compact", "onnxruntime", 1, "", 2, 3.25, 3.5, 2.0, 1.75, 2.25),
        ),
        trades=(Trade(10, 6.5, 0.875), Trade(20, 3.25, 0.9375)),
        reasons=(Reason("refused", name, name),),
        notes=(name,),
        metrics={name: 0.625, "nan": float("nan")},
        unmeasured=(name,),
        versions={"torch": name},
        machine={"processor": name, "cores": 6},
    )
