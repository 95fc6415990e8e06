"""An id for every coordinate, and what is said about ids."""

import numpy as np
import torch

from lightning_prune.coupling.labels import Labels, Plane
from lightning_prune.units.group import Axis


def test_grids_of_marked_ids_keep_what_trails():
    labels = Labels(np.array([False, True, True, False]))
    assert labels.keeps_trailing(torch.tensor([[1, 2]]))
    assert not labels.keeps_trailing(torch.tensor([[2, 3]]))
    assert not Labels().keeps_trailing(torch.tensor([[1, 2]]))


def test_what_is_said_while_labels_are_discarded_is_forgotten_but_ids_stay():
    labels = Labels()
    ids = labels.axis(Axis("w", 0), 3)
    labels.freeze(ids[:1], "kept")
    with labels.discard_labels():
        labels.freeze(ids, "unwanted")
        labels.tie(ids[:2], ids[1:])
        labels.product(ids)
        labels.read(ids)
        other = labels.axis(Axis("v", 0), 2)
    assert [freeze.reason for freeze in labels.freezes] == ["kept"]
    assert [labels.ties, labels.grids, labels.marks] == [[], [], []]
    assert labels.axis(Axis("v", 0), 2).tolist() == other.tolist()


def test_ties_outlive_discarded_labels_where_they_are_to():
    labels = Labels()
    ids = labels.axis(Axis("w", 0), 3)
    with labels.discard_labels(but_ties=True):
        labels.freeze(ids, "unwanted")
        labels.tie(ids[:2], ids[1:])
    assert (len(labels.ties), labels.freezes) == (1, [])


def test_ids_start_at_one_and_run_on():
    labels = Labels()
    assert labels.axis(Axis("a", 0), 3).tolist() == [1, 2, 3]
    assert labels.axis(Axis("a", 1), 2).tolist() == [4, 5]


def test_an_axis_keeps_its_ids():
    labels = Labels()
    first = labels.axis(Axis("a", 0), 3)
    labels.axis(Axis("b", 0), 2)
    assert torch.equal(labels.axis(Axis("a", 0), 3), first)
    assert labels.count == 1 + 3 + 2


def test_ties_are_broadcast_and_leave_out_what_is_equal():
    labels = Labels()
    labels.tie(torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 2]))
    [tie] = labels.ties
    assert list(zip(tie.first.tolist(), tie.second.tolist(), strict=True)) == [(3, 1), (4, 2)]


def test_a_tie_of_equal_ids_says_nothing():
    labels = Labels()
    labels.tie(torch.tensor([1, 2]), torch.tensor([1, 2]))
    assert labels.ties == []


def test_a_plane_varies_where_its_ids_have_a_size():
    assert Plane(torch.zeros(1, 3, 1, 2, dtype=torch.int64), zero=True).varying == {1, 3}


def test_freezes_keep_their_reason_in_order():
    labels = Labels()
    labels.freeze(torch.tensor([[2, 1], [2, 2]]), "why")
    assert set(labels.freezes[0].ids.tolist()) == {1, 2}
    assert labels.freezes[0].reason == "why"


def test_fresh_ids_lie_on_no_axis_and_are_never_given_twice():
    labels = Labels()
    axis = labels.axis(Axis("w", 0), 3)
    fresh, more = labels.fresh(2), labels.fresh(2)
    assert torch.cat([axis, fresh, more]).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert list(labels.starts) == [Axis("w", 0)]


def test_ties_of_one_side_are_noted_twice():
    labels = Labels()
    labels.tie(torch.tensor([1]), torch.tensor([2]), same_side=True)
    labels.tie(torch.tensor([3]), torch.tensor([4]))
    assert len(labels.ties) == 2
    assert [tie.same_side for tie in labels.ties] == [True, False]
