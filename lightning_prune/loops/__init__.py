"""Pruning in training loops of one's own: plain PyTorch, Fabric, other trainers."""

from lightning_prune.loops.pruner import Pruner

__all__ = ["Pruner"]
