import pytest
import torch

from lightning_prune.units.group import Axis, Group, Member
from lightning_prune.units.masks import (
    find_dead,
    find_erased,
    keep_highest,
    parameter_masks,
    protect_best,
)

CPU = torch.device("cpu")


def whole_masks(groups, kept, shapes, device):
    return {n: m.whole() for n, m in parameter_masks(groups, kept, shapes, device).items()}


def member(tensor, dim, size, side="out", positions=None, buffer=False):
    positions = None if positions is None else torch.tensor(positions)
    return Member(Axis(tensor, dim), side, size, positions, buffer)


def flat(name, n):
    return Group(name, n, (member(name, -1, n),))


# conv.weight [3, 2, 1, 1] and conv.bias [3] write, fc.weight [4, 6] reads two columns a channel.
CHANNELS = Group(
    "conv",
    3,
    (
        member("conv.weight", 0, 3),
        member("conv.bias", 0, 3),
        member("bn.running_mean", 0, 3, "shape", buffer=True),
        member("fc.weight", 1, 6, "in", [[0, 1], [2, 3], [4, 5]]),
    ),
)
SHAPES = {
    "conv.weight": torch.Size([3, 2, 1, 1]),
    "conv.bias": torch.Size([3]),
    "fc.weight": torch.Size([4, 6]),
}


def owned(name, unit):
    """The elements of a tensor that a unit of CHANNELS owns, by a slow and separate rule."""
    index = torch.zeros(SHAPES[name], dtype=torch.bool)
    if name == "fc.weight":
        index[:, 2 * unit : 2 * unit + 2] = True
    else:
        index[unit] = True
    return index


@pytest.mark.parametrize("remove", range(10))
def test_asked_is_obtained(remove):
    generator = torch.Generator().manual_seed(remove)
    priorities = [torch.randint(3, (n,), generator=generator).float() for n in (4, 5)]
    kept = torch.cat(keep_highest(priorities, remove))
    everything = torch.cat(priorities)
    order = sorted(range(9), key=lambda i: (everything[i].item(), i))
    assert torch.nonzero(~kept).flatten().tolist() == sorted(order[:remove])


def test_ties_are_broken_by_group_then_index():
    kept = keep_highest([torch.ones(3), torch.ones(2)], 4)
    assert [k.tolist() for k in kept] == [[False, False, False], [False, True]]


def test_dead_units_go_first_and_protected_ones_stay():
    kept = keep_highest([torch.tensor([-torch.inf, 0.0, torch.inf, 5.0, -torch.inf])], 3)
    assert kept[0].tolist() == [False, False, True, True, False]


def test_the_best_of_every_group_is_protected():
    scores = [torch.tensor([1.0, 4.0, 2.0]), torch.tensor([0.0]), torch.tensor([7.0, 7.0])]
    protected = protect_best(scores)
    assert [p.isinf().tolist() for p in protected] == [
        [False, True, False],
        [True],
        [False, True],
    ]
    assert not any(s.isinf().any() for s in scores)


def test_as_many_as_the_floor_are_protected():
    scores = [torch.tensor([1.0, 4.0, 2.0, 4.0]), torch.tensor([5.0, 5.0])]
    protected = protect_best(scores, [3, 1])
    assert [p.isinf().tolist() for p in protected] == [[False, True, True, True], [False, True]]


def test_masks_zero_both_sides_and_no_buffer():
    kept = torch.tensor([True, False, True])
    masks = whole_masks([CHANNELS], [kept], SHAPES, CPU)
    assert set(masks) == set(SHAPES)
    for name, mask in masks.items():
        assert torch.equal(mask, ~owned(name, 1))


def test_axes_of_one_tensor_combine():
    rows = Group("a", 2, (member("w", 0, 2),))
    columns = Group("b", 3, (member("w", 1, 3, "in"),))
    kept = [torch.tensor([True, False]), torch.tensor([True, True, False])]
    masks = whole_masks([rows, columns], kept, {"w": torch.Size([2, 3])}, CPU)
    assert masks["w"].tolist() == [[True, True, False], [False, False, False]]


def test_groups_on_one_axis_combine():
    left = Group("a", 2, (member("w", 0, 4, positions=[[0], [1]]),))
    right = Group("b", 1, (member("w", 0, 4, positions=[[2, 3]]),))
    kept = [torch.tensor([False, True]), torch.tensor([False])]
    masks = whole_masks([left, right], kept, {"w": torch.Size([4])}, CPU)
    assert masks["w"].tolist() == [False, True, False, False]


def test_masks_of_single_weights():
    kept = torch.tensor([True, False, True, True])
    masks = whole_masks([flat("w", 4)], [kept], {"w": torch.Size([2, 2])}, CPU)
    assert masks["w"].tolist() == [[True, False], [True, True]]


def test_untouched_parameters_have_no_mask():
    assert whole_masks([CHANNELS], [torch.ones(3, dtype=torch.bool)], SHAPES, CPU) == {}


def ones(**zeroed):
    """Tensors of CHANNELS, all ones but for the given units of the given tensors."""
    tensors = {name: torch.ones(shape) for name, shape in SHAPES.items()}
    for name, units in zeroed.items():
        for unit in units:
            tensors[name.replace("_", ".")][owned(name.replace("_", "."), unit)] = 0.0
    return tensors


@pytest.mark.parametrize(
    ("zeroed", "dead", "erased"),
    [
        pytest.param({}, [], [], id="none"),
        pytest.param({"conv_weight": [1]}, [], [], id="the bias still writes"),
        pytest.param({"conv_weight": [1], "conv_bias": [1]}, [1], [], id="not written"),
        pytest.param({"fc_weight": [0, 2]}, [0, 2], [], id="not read"),
        pytest.param({"conv_weight": [1], "conv_bias": [1], "fc_weight": [1]}, [1], [1], id="both"),
    ],
)
def test_dead_and_erased(zeroed, dead, erased):
    tensors = ones(**zeroed)
    assert find_dead([CHANNELS], tensors)[0].nonzero().flatten().tolist() == dead
    assert find_erased([CHANNELS], tensors)[0].nonzero().flatten().tolist() == erased


def test_what_reads_as_a_constant_is_dead_only_if_unread():
    constant = Group("c", 3, CHANNELS.members, torch.tensor([True, True, False]))
    tensors = ones(conv_weight=[0, 1, 2], conv_bias=[0, 1, 2], fc_weight=[1])
    assert find_dead([constant], tensors)[0].tolist() == [False, True, True]


def test_a_nan_is_alive():
    tensors = ones(conv_weight=[0], conv_bias=[0])
    tensors["conv.weight"][0] = torch.nan
    assert not find_dead([CHANNELS], tensors)[0].any()


def test_groups_without_a_side_are_not_dead_by_it():
    readers = Group("r", 2, (member("w", 1, 2, "in"),))
    assert find_dead([readers], {"w": torch.ones(2, 2)})[0].tolist() == [False, False]
    assert find_dead([Group("n", 2, ())], {"w": torch.ones(1)})[0].tolist() == [False, False]
    assert find_erased([Group("n", 2, ())], {"w": torch.ones(1)})[0].tolist() == [False, False]


def test_what_is_masked_is_dead():
    kept = [torch.tensor([True, False, False])]
    masks = whole_masks([CHANNELS], kept, SHAPES, CPU)
    tensors = {name: torch.rand(shape) + 1 for name, shape in SHAPES.items()}
    masked = {name: tensors[name] * masks[name] for name in SHAPES}
    assert torch.equal(find_dead([CHANNELS], masked)[0], ~kept[0])
    assert torch.equal(find_erased([CHANNELS], masked)[0], ~kept[0])


def test_what_is_exposed_is_not_dead_while_something_writes_it():
    weights = {"w": torch.tensor([[0.0], [1.0], [0.0]]), "r": torch.tensor([[0.0, 0.0, 1.0]])}
    members = (Member(Axis("w", 0), "out", 3), Member(Axis("r", 1), "in", 3))
    plain = Group("w", 3, members)
    exposed = Group("w", 3, members, exposed=torch.tensor([True, True, True]))
    constant = Group("w", 3, members, torch.ones(3, dtype=torch.bool))
    both = Group("w", 3, members, torch.ones(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool))
    dead = find_dead([plain, exposed, constant, both], weights)
    assert [units.tolist() for units in dead] == [
        [True, True, True],
        [True, False, True],
        [True, True, False],
        [True, False, False],
    ]


def test_a_member_that_only_gives_the_shape_is_never_zeroed_or_looked_at():
    members = (Member(Axis("g", 0), "out", 2), Member(Axis("v", 0), "shape", 2))
    group = Group("g", 2, members)
    tensors = {"g": torch.tensor([[0.0], [1.0]]), "v": torch.ones(2, 3)}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    kept = [torch.tensor([False, True])]
    assert set(whole_masks([group], kept, shapes, torch.device("cpu"))) == {"g"}
    assert find_dead([group], tensors)[0].tolist() == [True, False]
    assert find_erased([group], tensors)[0].tolist() == [True, False]
