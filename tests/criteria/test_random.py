import pytest
import torch

from lightning_prune.criteria import Random


def scores(seed):
    out = [torch.empty(40, 25), torch.empty(7)]
    Random(seed).write(out, out, [])
    return torch.cat([o.flatten() for o in out])


def test_is_uniform():
    drawn = scores(0)
    assert 0.0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() < 1.0
    assert abs(drawn.mean() - 0.5) < 0.05
    assert drawn.unique().numel() > 1000


def test_what_is_no_seed_is_refused():
    with pytest.raises(ValueError, match="Expected `seed` to be an integer"):
        Random(seed=0.5)


def test_the_seed_decides():
    assert not torch.equal(scores(0), scores(1))
    assert torch.equal(scores(1), scores(1))
