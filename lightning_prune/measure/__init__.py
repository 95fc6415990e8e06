"""Numbers about any module: sparsity, size, MACs and latency."""

from lightning_prune.measure.latency import Latency, Turns, measure_in_turns, measure_latency
from lightning_prune.measure.macs import count_macs
from lightning_prune.measure.size import count_bytes, count_parameters
from lightning_prune.measure.sparsity import Sparsity, measure_sparsity
from lightning_prune.measure.speedup import Speedup

__all__ = [
    "Latency",
    "Sparsity",
    "Speedup",
    "Turns",
    "count_bytes",
    "count_macs",
    "count_parameters",
    "measure_in_turns",
    "measure_latency",
    "measure_sparsity",
]
