import pytest
import torch
import torch.nn.functional as F
from support.proving import channels, proved
from torch import nn

N = None
TOKENS = {
    "moved": (lambda m, h: h.transpose(1, 2).contiguous(), 1, [0.5, 0.0, N, N]),
    "flattened": (lambda m, h: h.flatten(0, 1), -1, [0.5, 0.0, N, N]),
    "heads": (lambda m, h: h.unflatten(-1, (2, 2)).permute(0, 2, 3, 1), 2, [N, N]),
    "turned round": (lambda m, h: h.flip(-1), -1, [N, N, 0.0, 0.5]),
    "chunks": (lambda m, h: h.chunk(2, -1)[0], -1, [0.5, 0.0]),
    "selected": (lambda m, h: h[..., 1:2], -1, [0.0]),
    "positions cut": (lambda m, h: h[:, 1:], -1, [0.5, 0.0, N, N]),
    "side by side": (lambda m, h: torch.cat([h, h * 2], -1), -1, [0.5, 0.0, N, N, 1.0, 0.0, N, N]),
    "behind one another": (lambda m, h: torch.cat([h, h * 2], 1), -1, [N, 0.0, N, N]),
    "two kinds, cut": (lambda m, h: torch.cat([h, h * 2], 1)[:, :5], -1, [N, 0.0, N, N]),
    "a table": (lambda m, h: h + m.table, -1, [N, 3.0, N, N]),
    "a table cut": (lambda m, h: h + m.table[:, : h.shape[1]], -1, [N, 3.0, N, N]),
    "a table expanded and cut": (
        lambda m, h: h + m.table.expand(len(h), -1, -1)[:, : h.shape[1]], -1, [N, 3.0, N, N],
    ),
    "rows of zeros": (lambda m, h: F.pad(h, (0, 0, 1, 1)), -1, [N, 0.0, N, N]),
    "no rows of zeros, here": (lambda m, h: F.pad(h, (0, 0, 0, 0)), -1, [N, 0.0, N, N]),
}  # fmt: skip


@pytest.mark.parametrize(("function", "dim", "expected"), TOKENS.values(), ids=TOKENS)
def test_what_is_proved(function, dim, expected):
    assert channels(proved(function, 2, 5, 3, table=Table()), dim) == expected


class Table(nn.Module):
    """Not the same at every position, but for one channel."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Parameter(torch.randn(1, 5, 4).double())
        with torch.no_grad():
            self.rows[..., 1] = 3.0

    def __radd__(self, other):
        return other + self.rows

    def __getitem__(self, index):
        return self.rows[index]

    def expand(self, *sizes):
        return self.rows.expand(*sizes)
