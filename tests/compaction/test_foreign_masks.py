import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from lightning_prune.compaction.foreign_masks import warn_of_masks


def test_a_mask_that_hides_weights_is_named_with_the_cure(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    prune.ln_structured(model[2], "weight", 0.5, n=2, dim=1)
    warn_of_masks(model)
    assert "prune.remove(module, name) for: 2.weight" in caplog.text


def test_zeros_in_the_weights_themselves_are_not_mentioned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    prune.identity(model[0], "bias")
    prune.ln_structured(model[0], "weight", 0.5, n=2, dim=0)
    with torch.no_grad():
        model[0].weight_orig *= model[0].weight_mask
    warn_of_masks(model)
    prune.remove(model[0], "weight")
    warn_of_masks(model)
    assert not caplog.text
