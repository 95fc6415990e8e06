"""From ties, freezes and products to components."""

import torch

from lightning_prune.coupling.labels import OUTPUT, Labels
from lightning_prune.coupling.solve import Solution, solve, stuck_grids
from lightning_prune.units.group import Axis


def labels_of(size: int) -> tuple[Labels, torch.Tensor]:
    labels = Labels()
    return labels, labels.axis(Axis("w", 0), size)


def sets(solution: Solution, ids: torch.Tensor) -> list[list[int]]:
    """Return the components of ``ids`` as lists of positions."""
    found: dict[int, list[int]] = {}
    for position, identifier in enumerate(ids.flatten().tolist()):
        found.setdefault(int(solution.component[identifier]), []).append(position)
    return sorted(found.values())


def frozen(solution: Solution, ids: torch.Tensor) -> list[bool]:
    return solution.frozen[solution.component[ids.numpy()]].tolist()


def test_untied_ids_are_alone():
    labels, ids = labels_of(3)
    assert sets(solve(labels), ids) == [[0], [1], [2]]


def test_ties_join_along_chains():
    labels, ids = labels_of(4)
    labels.tie(ids[:2], ids[1:3])
    assert sets(solve(labels), ids) == [[0, 1, 2], [3]]


def test_a_freeze_holds_its_whole_component_with_its_reason():
    labels, ids = labels_of(4)
    labels.tie(ids[0], ids[1])
    labels.freeze(ids[1:2], "why")
    solution = solve(labels)
    assert frozen(solution, ids) == [True, True, False, False]
    reason = int(solution.reason[solution.component[1]])
    assert labels.freezes[reason].reason == "why"


def test_the_first_reason_is_kept():
    labels, ids = labels_of(2)
    labels.freeze(ids[:1], "first")
    labels.freeze(ids[:1], "second")
    solution = solve(labels)
    assert labels.freezes[int(solution.reason[solution.component[1]])].reason == "first"


def test_id_zero_freezes_what_it_touches_and_joins_nothing():
    labels, ids = labels_of(3)
    labels.tie(ids[:2], torch.zeros(1, dtype=torch.int64))
    solution = solve(labels)
    assert sets(solution, ids) == [[0], [1], [2]]
    assert frozen(solution, ids) == [True, True, False]


def test_kernel_positions_stay():
    labels, ids = labels_of(2)
    labels.kernel(ids)
    assert frozen(solve(labels), ids) == [True, True]


def test_of_a_grid_whole_slices_of_the_leading_dimension_may_go():
    labels, ids = labels_of(6)
    labels.product(ids.view(2, 3))
    assert sets(solve(labels), ids) == [[0, 1, 2], [3, 4, 5]]


def test_a_grid_that_varies_along_one_dimension_already_ties_nothing():
    labels, ids = labels_of(6)
    grid = ids.view(2, 3)
    labels.tie(grid, grid[:1])
    labels.product(grid)
    assert sets(solve(labels), ids) == [[0, 3], [1, 4], [2, 5]]


def test_frozen_coordinates_of_a_grid_count_as_one():
    labels, ids = labels_of(4)
    labels.freeze(ids, "why")
    labels.product(ids.view(2, 2))
    assert sets(solve(labels), ids) == [[0], [1], [2], [3]]


def test_a_grid_and_its_transpose_tie_everything():
    labels, ids = labels_of(6)
    labels.product(ids.view(2, 3))
    labels.product(ids.view(2, 3).t())
    assert sets(solve(labels), ids) == [[0, 1, 2, 3, 4, 5]]


def test_a_product_reached_through_ties_is_seen():
    labels, ids = labels_of(4)
    other = labels.axis(Axis("v", 0), 4)
    labels.product(ids.view(2, 2))
    labels.tie(ids, other)
    assert sets(solve(labels), other) == [[0, 1], [2, 3]]


def test_what_is_in_no_part_of_a_weight_stays():
    labels, ids = labels_of(5)
    labels.cut(ids, [ids[:2]])
    labels.cut(ids, [ids[3:4]])
    assert frozen(solve(labels), ids) == [False, False, True, False, True]


def test_grids_that_can_lose_nothing_are_stuck_unless_they_are_outputs_or_no_parameter_s():
    labels, ids = labels_of(12)
    fresh = labels.fresh(4)
    for grid in [*ids.view(3, 2, 2), fresh.view(2, 2)]:
        labels.product(grid)
    labels.freeze(ids[:4], "why")
    labels.freeze(fresh, "why")
    labels.freeze(ids[4:8], OUTPUT)
    stuck = stuck_grids(labels, solve(labels))
    assert stuck.nonzero()[0].tolist() == ids[:4].tolist()


def test_nothing_said_is_solved():
    assert solve(Labels()).component.tolist() == [0]
