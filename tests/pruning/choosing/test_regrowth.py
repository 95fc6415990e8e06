import torch

from lightning_prune.pruning.choosing.regrowth import exchange


def test_the_lowest_give_way_to_those_that_would_grow_most():
    kept = [torch.tensor([True, True, True, True, False, False, False])]
    scores = [torch.tensor([3.0, 1.0, 2.0, 4.0, 0.0, 0.0, 0.0])]
    growth = [torch.tensor([9.0, 9.0, 9.0, 9.0, 1.0, 3.0, 2.0])]
    (after,) = exchange(kept, scores, growth, 0.5)
    assert after.tolist() == [True, False, False, True, False, True, True]
    assert kept[0].sum() == 4


def test_no_more_than_there_are_to_grow():
    kept = [torch.tensor([True, True, True, False])]
    (after,) = exchange(kept, [torch.arange(4.0)], [torch.zeros(4)], 0.9)
    assert after.tolist() == [False, True, True, True]


def test_every_group_keeps_its_count():
    generator = torch.Generator().manual_seed(0)
    kept = [torch.rand(n, generator=generator) < 0.3 for n in (50, 7, 100)]
    scores = [torch.rand(len(k), generator=generator) for k in kept]
    after = exchange(kept, scores, scores, 0.3)
    for old, new in zip(kept, after, strict=True):
        assert old.sum() == new.sum()
        assert int((old & ~new).sum()) == int(0.3 * int(old.sum()))
