from torch import nn

from lightning_prune.criteria import Magnitude
from lightning_prune.criteria.evidence import Weights
from lightning_prune.criteria.evidence.base import Subject


def test_scores_are_read_off_the_weights_at_once() -> None:
    layer = nn.Linear(3, 2)
    weights = dict(layer.named_parameters())
    subject = Subject(layer, weights, Magnitude(), lambda scores: list(scores.values()), {})
    evidence = Weights(subject)
    assert evidence.ready
    assert evidence.observed() == []
    for score, weight in zip(evidence.scores(), weights.values(), strict=True):
        assert score.tolist() == weight.abs().tolist()
    assert evidence.state_dict() is None
