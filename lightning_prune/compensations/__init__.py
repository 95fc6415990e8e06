"""Compensations: how what stays makes up for what is removed."""

from lightning_prune.compensations.base import Compensation, Moments
from lightning_prune.compensations.fold_means import FoldMeans
from lightning_prune.compensations.least_squares import LeastSquares

__all__ = ["Compensation", "FoldMeans", "LeastSquares", "Moments"]
