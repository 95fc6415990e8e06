import pytest
import torch
from torch import Tensor, nn

from lightning_prune.compaction.branches.idling import idle
from lightning_prune.coupling import couple
from lightning_prune.modules.inputs import ExampleInputs

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


class Both(nn.Module):
    """Returns a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.layer(x), None


class Model(nn.Module):
    def __init__(self, outer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.outer = outer
        self.unused = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.outer(self.norm(x))
        return x + (y[0] if isinstance(y, tuple) else y)


def found(model, *, silent):
    [branch] = couple(model, X).branches
    return idle(model, [ExampleInputs.of(X)], [branch], branch.parameters, silent=silent)


def values(one):
    return {name: edit.correction.form for name, edit in one.edits.items()}


def test_the_outermost_modules_of_a_branch_idle():
    layers = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    one = found(Model(layers), silent=False)
    assert values(one) == {"norm": ("tensor",), "outer": ("tensor",)}
    assert {(edit.method, edit.path) for edit in one.edits.values()} == {("forward", ())}
    assert one.reasons == {}


@pytest.mark.parametrize("outer", [nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4))], ids=str)
def test_of_a_silent_branch_the_last_module_returns_zero(outer):
    assert values(found(Model(outer), silent=True)) == {"norm": ("tensor",), "outer": ("zero",)}


def test_a_pair_can_be_given_back_but_is_no_zero():
    pair = ("tuple", ("tensor",), None)
    assert values(found(Model(Both()), silent=False))["outer"] == pair
    one = found(Model(Both()), silent=True)
    assert set(one.reasons.values()) == {"outer returns more than a tensor"}


def test_a_parameter_outside_of_the_modules_of_a_branch_stays():
    model = Model(nn.Linear(4, 4))
    [branch] = couple(model, X).branches
    one = idle(model, [ExampleInputs.of(X)], [branch], ["unused.weight"])
    assert one.edits == {}
    assert one.reasons == {"unused.weight": "unused.weight would be computed with all the same"}
