import torch

from lightning_prune.modules.ranks import add_up, all_agree, in_a_group


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
    finally:
        torch.distributed.destroy_process_group()
