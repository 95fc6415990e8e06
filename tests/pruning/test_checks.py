import pytest
from torch import nn

from lightning_prune.errors import TargetError
from lightning_prune.pruning.checks import check_arguments, check_model


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)


def test_models() -> None:
    check_model(Net(), ["head"], [])
    with pytest.raises(ValueError, match="Expected `exclude`"):
        check_model(Net(), None, ["tail"])
    with pytest.raises(TargetError, match="trainable"):
        check_model(Net().requires_grad_(False), None, [])


def test_arguments() -> None:
    check_arguments(0.0, None, ())
    with pytest.raises(ValueError, match="Expected `sparsity`"):
        check_arguments(1.0, None, ())
    with pytest.raises(TypeError, match=r"Write \['head'\]"):
        check_arguments(0.5, "head", ())
