import pytest

from lightning_prune.pruning.checks import check_of


def test_of_is_one_of_three_words() -> None:
    assert check_of("macs") is None
    with pytest.raises(ValueError, match="one of parameters, macs, units, but got 'flops'"):
        check_of("flops")
