"""Prune a network while Lightning trains it, remove what was pruned, prove it and measure it."""

from lightning_prune.allocations import Allocation, Global, Uniform
from lightning_prune.callbacks import Compaction, LatencyMonitor, Pruning, SparsityMonitor
from lightning_prune.compaction import CompactionReport, compact, load_compact, save_compact
from lightning_prune.coupling import Coupling, couple
from lightning_prune.criteria import Criterion, Gradient, Magnitude, Random, Taylor
from lightning_prune.errors import (
    ExampleInputsError,
    PruningError,
    TargetError,
    VerificationError,
)
from lightning_prune.granularities import Channel, Granularity, Weight
from lightning_prune.measure import (
    Latency,
    Sparsity,
    count_macs,
    measure_latency,
    measure_sparsity,
)
from lightning_prune.pruning import PruningReport, prune
from lightning_prune.schedules import (
    Cosine,
    Cubic,
    DenseSparseDense,
    Exponential,
    Iterative,
    Linear,
    OneCycle,
    OneShot,
    Schedule,
    Steps,
)

__version__ = "0.1.0"

__all__ = [
    "Allocation",
    "Channel",
    "Compaction",
    "CompactionReport",
    "Cosine",
    "Coupling",
    "Criterion",
    "Cubic",
    "DenseSparseDense",
    "ExampleInputsError",
    "Exponential",
    "Global",
    "Gradient",
    "Granularity",
    "Iterative",
    "Latency",
    "LatencyMonitor",
    "Linear",
    "Magnitude",
    "OneCycle",
    "OneShot",
    "Pruning",
    "PruningError",
    "PruningReport",
    "Random",
    "Schedule",
    "Sparsity",
    "SparsityMonitor",
    "Steps",
    "TargetError",
    "Taylor",
    "Uniform",
    "VerificationError",
    "Weight",
    "compact",
    "count_macs",
    "couple",
    "load_compact",
    "measure_latency",
    "measure_sparsity",
    "prune",
    "save_compact",
]
