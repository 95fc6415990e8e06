"""Attention by its parts, for as long as it is asked for."""

import pytest
import torch

from lightning_prune.modules.fast_paths import no_fast_paths


@pytest.mark.parametrize("before", [True, False])
def test_what_was_set_before_is_set_again(before: bool) -> None:
    mha = torch.backends.mha
    kept = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(before)
    try:
        with no_fast_paths():
            assert not mha.get_fastpath_enabled()
        assert mha.get_fastpath_enabled() == before
    finally:
        mha.set_fastpath_enabled(kept)
