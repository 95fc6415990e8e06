import torch

from lightning_prune.allocations import Isomorphic
from lightning_prune.units.group import Axis, Group, Member


def hidden(name, units):
    return Group(name, units, (Member(Axis(f"{name}.weight", 0), "out", units),))


def stream(name, units):
    members = (
        Member(Axis(f"{name}.weight", 0), "out", units),
        Member(Axis(f"{name}.norm.bias", 0), "out", units),
    )
    return Group(name, units, members)


def test_units_are_ranked_among_those_of_the_same_structure():
    groups = [hidden("a", 2), stream("b", 2), hidden("c", 3)]
    shapes = {
        "a.weight": torch.Size([2, 7]),
        "b.weight": torch.Size([2, 7]),
        "b.norm.bias": torch.Size([2]),
        "c.weight": torch.Size([3, 2]),  # another size, the same structure as a
    }
    scores = [torch.tensor([5.0, 1.0]), torch.tensor([0.1, 0.2]), torch.tensor([3.0, 2.0, 4.0])]
    found = [p.tolist() for p in Isomorphic().priorities(scores, groups, shapes)]
    assert found == [[4.5 / 5, 0.5 / 5], [0.5 / 2, 1.5 / 2], [2.5 / 5, 1.5 / 5, 3.5 / 5]]


def test_a_convolution_is_not_a_linear_layer():
    groups = [hidden("a", 1), hidden("b", 1)]
    shapes = {"a.weight": torch.Size([1, 7]), "b.weight": torch.Size([1, 7, 3, 3])}
    found = Isomorphic().priorities([torch.zeros(1), torch.ones(1)], groups, shapes)
    assert [p.item() for p in found] == [0.5, 0.5]
