"""Histograms count every score once, among the kept or the removed."""

import torch

from lightning_prune.report.histograms import histograms_of


def test_every_score_is_in_one_bin():
    scores, kept = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([False, True, True, True])
    (found,) = histograms_of(["a"], [scores], [kept])
    assert (found.group, found.sampled, found.logarithmic) == ("a", 4, False)
    assert (sum(found.kept), sum(found.removed)) == (3, 1)
    assert found.removed[0] == 1
    assert len(found.edges) == len(found.kept) + 1
    assert (found.edges[0], found.edges[-1]) == (1.0, 4.0)


def test_scores_of_many_magnitudes_are_counted_by_their_logarithm():
    scores = torch.tensor([0.0, 0.0, 1e-6, 1e-3, 1.0])
    (found,) = histograms_of(["a"], [scores], [scores > 1e-4])
    assert found.logarithmic
    assert (sum(found.kept), sum(found.removed), found.zeros, found.sampled) == (2, 1, 2, 5)
    assert found.edges[0] > 0


def test_negative_scores_are_not_taken_the_logarithm_of():
    scores = torch.tensor([-1e-3, 1.0, 1e-6])
    (found,) = histograms_of(["a"], [scores], [scores > 0])
    assert not found.logarithmic
    assert sum(found.kept) + sum(found.removed) == 3


def test_what_is_not_finite_or_not_there_is_left_out():
    scores = [torch.tensor([torch.nan, 1.0, torch.inf]), torch.tensor([torch.nan]), torch.zeros(0)]
    found = histograms_of(["a", "b", "c"], scores, [torch.ones_like(s).bool() for s in scores])
    assert [(one.group, one.sampled) for one in found] == [("a", 1)]


def test_equal_scores_are_one_bin():
    (found,) = histograms_of(["a"], [torch.ones(3)], [torch.ones(3).bool()])
    assert max(found.kept) == sum(found.kept) == 3
