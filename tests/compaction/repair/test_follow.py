"""A smaller model is followed also where operations are left out that have nothing to do."""

import torch
from support.nets import Net
from support.oracle import half_of_every_group, randomize, zeroed
from torch import Tensor, nn

from lightning_prune.compaction import compact
from lightning_prune.coupling import couple


def refused(model: nn.Module, x: Tensor) -> dict[str, str]:
    model = randomize(model)
    groups = couple(model, x).groups
    masked = zeroed(model, groups, half_of_every_group(groups), ["out in"] * len(groups))
    report = compact(masked, x, latency=False)
    assert report.removed
    return dict(report.refused)


class Turned(nn.Module):
    """Halves change places, like those of a query that is rotated."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 12)
        self.last = nn.Linear(12, 2)

    def turn(self, x: Tensor) -> Tensor:
        return torch.cat([-x[..., 6:], x[..., :6]], -1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x * 2 + self.turn(x))


def test_a_slice_that_takes_all_there_is_left():
    assert refused(Turned(), torch.randn(4, 3)) == {}


def test_a_copy_that_is_not_needed_any_more():
    """Of two heads one is left, and a permutation that moves nothing needs no copy."""

    def forward(m, x):
        heads = m.first(x).unflatten(-1, (-1, 4))
        mixed = heads.transpose(1, 2).contiguous() * m.scale.view(-1)[:, None, None]
        return m.last(mixed.transpose(1, 2).flatten(2))

    net = Net(
        forward,
        first=nn.Linear(3, 8),
        scale=nn.Parameter(torch.randn(2)),
        last=nn.Linear(8, 2),
    )
    assert refused(net, torch.randn(2, 5, 3)) == {}


def test_another_course_is_told_and_stops_what_causes_it():
    def forward(m, x):
        x = m.first(x)
        return m.last(x.relu() if x.shape[-1] == 8 else x.sigmoid())

    net = Net(forward, first=nn.Linear(3, 8), mid=nn.Linear(3, 6), last=nn.Linear(8, 2))
    net.function = lambda m, x: forward(m, x) + m.head(m.mid(x))
    net.head = nn.Linear(6, 2)
    (reason,) = refused(net, torch.randn(4, 3)).values()
    assert "runs instead of" in reason
