"""Without verification a model need only run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_prune.compaction.verification import Errors, Unverified
from lightning_prune.errors import VerificationError
from lightning_prune.modules.inputs import ExampleInputs


def test_any_model_that_runs_will_do() -> None:
    model = nn.BatchNorm1d(3)
    assert Unverified([ExampleInputs((torch.randn(4, 3),))]).check(model) == Errors()
    assert int(model.num_batches_tracked) == 0


def test_a_model_that_does_not_run_is_refused() -> None:
    check = Unverified([ExampleInputs((torch.randn(4, 3),))])
    with pytest.raises(VerificationError, match="cannot be multiplied"):
        check.check(nn.Linear(2, 2))
