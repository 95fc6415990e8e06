import pytest

from lightning_prune.granularities.checks import check_at_least


def test_a_count_passes():
    check_at_least("n", 3, 3)


def test_less_is_refused():
    with pytest.raises(ValueError, match="Expected `n` to be an integer of at least 3, but got 2"):
        check_at_least("n", 2, 3)
