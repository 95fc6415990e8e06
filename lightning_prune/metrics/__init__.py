"""Metrics of torchmetrics whose argument is a model: sparsity, size, MACs and latency."""

from lightning_prune.metrics.base import ModelMetric
from lightning_prune.metrics.latency import Latency
from lightning_prune.metrics.macs import Macs
from lightning_prune.metrics.size import ModelSize
from lightning_prune.metrics.sparsity import Sparsity

__all__ = ["Latency", "Macs", "ModelMetric", "ModelSize", "Sparsity"]
