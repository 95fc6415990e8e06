"""Checkpoints of compact models hold their plans, as data."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.compaction.checkpoints import KEY, add_plan, compact_file_in, read_checkpoint
from lightning_prune.compaction.records import plan_of
from lightning_prune.compaction.storage import follow_checkpoint


class Net(nn.Module):
    """Has an attribute, a corrected mean and a buffer that no state dict holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.register_buffer("scale", torch.rand(8), persistent=False)
        self.head = nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu() * self.scale
        return self.head(h.mean(-1, keepdim=True))


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def compacted(dead: Any = slice(3)) -> Net:
    net = Net().eval()
    with torch.no_grad():
        net.first.weight[dead] = 0
        net.first.bias[dead] = 0
    assert lp.compact(net, X, latency=False).removed == 3
    return net


def checkpoint_of(net: nn.Module) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {"state_dict": net.state_dict()}
    add_plan(net, checkpoint)
    return checkpoint


def test_a_checkpoint_gives_the_compact_model(tmp_path: Path) -> None:
    net = compacted()
    torch.save(checkpoint_of(net), tmp_path / "x.ckpt")
    loaded = lp.load_compact(Net().eval(), tmp_path / "x.ckpt")
    assert torch.equal(loaded(X), net(X))
    assert plan_of(loaded) == plan_of(net)
    assert torch.equal(loaded.scale, net.scale)


def test_a_model_of_full_size_has_no_plan() -> None:
    checkpoint = checkpoint_of(Net())
    assert KEY not in checkpoint
    assert compact_file_in(checkpoint) is None


def test_a_model_follows_once() -> None:
    net, fresh = compacted(), Net().eval()
    checkpoint = checkpoint_of(net)
    for _ in range(2):
        follow_checkpoint(fresh, checkpoint)
        assert torch.equal(fresh(X), net(X))


def test_weights_are_cast_to_the_type_of_the_model() -> None:
    fresh = Net().double()
    follow_checkpoint(fresh, checkpoint_of(compacted()))
    assert fresh.first.weight.dtype == torch.float64
    assert fresh.first.weight.shape == (5, 4)


def test_a_model_that_lost_other_units_is_refused() -> None:
    net = compacted([0, 1, 3])
    with pytest.raises(ValueError, match="but got one that lost others"):
        follow_checkpoint(net, checkpoint_of(compacted()))


def test_a_checkpoint_of_full_size_is_refused_by_a_compact_model() -> None:
    with pytest.raises(ValueError, match=r"got first.weight of \(8, 4\) for \(5, 4\)"):
        follow_checkpoint(compacted(), checkpoint_of(Net()))


def test_a_checkpoint_of_the_compact_sizes_may_lack_the_plan() -> None:
    net = compacted()
    follow_checkpoint(net, {"state_dict": net.state_dict()})
    assert net.first.weight.shape == (5, 4)


def test_another_model_is_refused_and_stays_as_it_was() -> None:
    net = Net()
    net.first = nn.Linear(4, 9)
    with pytest.raises(ValueError, match="has another size than 8"):
        follow_checkpoint(net, checkpoint_of(compacted()))
    assert net.first.weight.shape == (9, 4)


BROKEN = {
    "no dict": (7, "to hold a format, a plan and tensors, but got 7"),
    "a part missing": ({"format": "lightning_prune/3"}, "to hold a format, a plan and tensors"),
    "a later format": (
        {"format": "lightning_prune/9", "plan": "{}", "tensors": {}},
        "in the format lightning_prune/3, but got lightning_prune/9",
    ),
    "no JSON": ({"format": "lightning_prune/3", "plan": "{", "tensors": {}}, "to be JSON"),
    "no plan": ({"format": "lightning_prune/3", "plan": "{}", "tensors": {}}, "`plan` in the plan"),
}


@pytest.mark.parametrize(("found", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_plan_is_refused(found: Any, message: str, tmp_path: Path) -> None:
    checkpoint = {"state_dict": Net().state_dict(), KEY: found}
    with pytest.raises(ValueError, match=message):
        follow_checkpoint(Net(), checkpoint)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=message):
        lp.load_compact(Net(), tmp_path / "x.ckpt")


def test_a_checkpoint_without_a_plan_is_no_compact_file(tmp_path: Path) -> None:
    torch.save({"state_dict": Net().state_dict()}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="of a compact model with its plan, but got one without"):
        read_checkpoint(tmp_path / "x.ckpt")


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("code of the file has run",))


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({**checkpoint_of(compacted()), "more": Bomb()}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="to be a checkpoint of tensors and plain data"):
        lp.load_compact(Net(), tmp_path / "x.ckpt")
