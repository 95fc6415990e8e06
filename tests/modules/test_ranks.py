import pytest
import torch

from lightning_prune.errors import PruningError
from lightning_prune.modules import ranks
from lightning_prune.modules.ranks import add_up, all_agree, from_rank_zero, in_a_group


def test_a_process_alone_agrees_with_itself() -> None:
    assert not in_a_group()
    assert all_agree(7, torch.zeros(1))
    tensor = torch.ones(2)
    assert add_up(tensor) is tensor


def test_a_group_adds_up_and_compares(tmp_path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        assert in_a_group()
        tensor = torch.ones(2)
        found = add_up(tensor)
        assert torch.equal(found, tensor)
        assert found is not tensor
        assert all_agree(7, tensor)
        assert from_rank_zero(lambda: [1.5, 2.5], tensor, 2) == [1.5, 2.5]
        with pytest.raises(KeyError, match="made"):
            from_rank_zero(raising, tensor, 2)
    finally:
        torch.distributed.destroy_process_group()


def raising() -> list[float]:
    raise KeyError("made")


def test_other_ranks_learn_that_rank_zero_has_failed(monkeypatch) -> None:
    monkeypatch.setattr(ranks, "in_a_group", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *_: None)
    with pytest.raises(PruningError, match="Expected numbers from rank zero, but got none"):
        from_rank_zero(raising, torch.zeros(1), 2)
