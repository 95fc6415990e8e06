"""Evidence: what a criterion reads beside the weights; every file is one source of it."""

from lightning_prune.criteria.evidence.activations import Activations
from lightning_prune.criteria.evidence.base import Evidence
from lightning_prune.criteria.evidence.covariances import Covariances
from lightning_prune.criteria.evidence.flow import Flow
from lightning_prune.criteria.evidence.gradients import Curvature, Gradients
from lightning_prune.criteria.evidence.weights import Weights

__all__ = ["Activations", "Covariances", "Curvature", "Evidence", "Flow", "Gradients", "Weights"]
