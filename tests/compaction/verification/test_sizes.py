"""Which dimensions change together, and what inputs of other sizes look like."""

import pytest
import torch

from lightning_prune.compaction.verification.sizes import (
    Place,
    batch_places,
    dimensions,
    larger,
    position_places,
    resized,
    smaller,
    with_batch,
    with_short_lists,
)
from lightning_prune.modules.inputs import ExampleInputs


def inputs(*shapes, **kwargs):
    return ExampleInputs(tuple(torch.randn(shape) for shape in shapes), kwargs)


def places(*pairs):
    return {Place(*pair) for pair in pairs}


def test_the_first_dimension_counts_examples_in_every_tensor_that_has_as_many():
    assert batch_places(inputs((2, 5), (2, 7), (3, 2))) == places((0, 0), (1, 0))


@pytest.mark.parametrize(
    ("tensor", "dims"),
    [
        (torch.randn(2, 3, 8, 9), (2, 3)),
        (torch.randn(2, 7, 4), (1,)),
        (torch.randn(2, 7), ()),
        (torch.zeros(2, 7, dtype=torch.long), (1,)),
        (torch.ones(2, 7, dtype=torch.bool), (1,)),
    ],
    ids=["image", "sequence of features", "features", "text", "mask"],
)
def test_positions_lie_in_space_and_in_time(tensor, dims):
    assert position_places(ExampleInputs((tensor,))) == places(*((0, d) for d in dims))


def test_what_has_the_same_size_changes_together():
    found = dimensions(inputs((2, 7, 4), (2, 7)))
    assert [(d.size, d.places) for d in found] == [
        (7, places((0, 1), (1, 1))),
        (4, places((0, 2))),
    ]


def test_a_square_changes_as_a_whole_and_by_its_sides():
    found = dimensions(inputs((2, 3, 8, 8), (2, 8, 8)))
    sides = [d.places for d in found if d.size == 8 and not d.is_whole]
    assert next(d for d in found if d.size == 8 and d.is_whole).places == places(
        (0, 2), (0, 3), (1, 1), (1, 2)
    )
    assert places((0, 3), (1, 2)) in sides
    assert places((0, 2), (1, 1)) in sides


@pytest.mark.parametrize("size", [1, 2, 3, 8, 40, 64, 224])
def test_other_sizes_are_larger_and_smaller(size):
    assert all(other > size for other in larger(size))
    assert all(0 < other < size for other in smaller(size))
    assert len(set(larger(size))) == len(larger(size))
    assert bool(smaller(size)) == (size > 1)


def test_large_images_change_by_a_stride():
    assert (larger(224)[:2], smaller(224)[0]) == ([257, 256], 192)


@pytest.mark.parametrize("multiple", [2, 8, 16, 32])
def test_some_size_is_a_multiple_of_what_the_example_is_a_multiple_of(multiple):
    for size in (2 * multiple, 96, 128):
        assert any(other % multiple == 0 for other in larger(size))
        assert any(other % multiple == 0 for other in smaller(size))


def test_what_is_larger_is_repeated_and_what_is_smaller_cut():
    given = ExampleInputs((torch.arange(3).view(1, 3),))
    assert resized(given, {Place(0, 1): 5}).tensors[0].tolist() == [[0, 1, 2, 0, 1]]
    assert resized(given, {Place(0, 1): 2}).tensors[0].tolist() == [[0, 1]]
    assert with_batch(given, 2).tensors[0].tolist() == [[0, 1, 2]] * 2


def test_lists_are_cut_to_one_element():
    given = ExampleInputs(([torch.zeros(1), torch.ones(1)],), {"boxes": [{"a": torch.ones(2)}] * 2})
    found = with_short_lists(given)
    assert [len(found.args[0]), len(found.kwargs["boxes"])] == [1, 1]
    assert with_short_lists(found) is None
    assert with_short_lists(inputs((2, 3))) is None
