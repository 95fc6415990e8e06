import pytest
import torch

from lightning_prune.compaction.repair.fixes import call_with

X = torch.arange(24.0).view(2, 3, 4)


@pytest.mark.parametrize(
    ("func", "given", "changed", "expected"),
    [
        (torch.ops.aten.view.default, {"self": X, "size": [9]}, {"size": [6, 4]}, X.view(6, 4)),
        (torch.ops.aten.mul.Tensor, {"self": X, "other": 2 * X}, {"self": X[0]}, X[0] * 2 * X),
        (
            torch.ops.aten.linear.default,
            {"input": X, "weight": torch.ones(5, 4), "bias": None},
            {"weight": torch.ones(1, 4)},
            X.sum(-1, keepdim=True),
        ),
    ],
    ids=["a size", "the first argument", "an argument of a layer"],
)
def test_a_call_takes_the_changed_arguments_and_the_given_ones(func, given, changed, expected):
    before = dict(given)
    assert torch.equal(call_with(func, given, **changed)(), expected)
    assert given == before
