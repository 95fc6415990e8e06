import pytest
import torch
from support.proving import channels, proved
from torch import nn

N = None
CASES = {
    "ones": (lambda m, h: h + torch.ones_like(h), [1.5, 1.0, N, N]),
    "a number": (lambda m, h: h + h.new_full((4,), 2.0), [2.5, 2.0, N, N]),
    "zeros beside it": (lambda m, h: torch.cat([h, h.new_zeros(2, 1)], 1), [0.5, 0.0, N, N, 0.0]),
    "counted": (lambda m, h: h + torch.arange(4), [N] * 4),
    "rows of a table": (lambda m, h: h + m.table(torch.zeros(2).long()), [N, 3.0, N, N]),
    "rows that follow the inputs": (lambda m, h: h + m.table((h[:, 3] > 0).long()), [N, 3.0, N, N]),
}


@pytest.mark.parametrize(("function", "expected"), CASES.values(), ids=CASES)
def test_what_is_proved(function, expected):
    table = nn.Embedding(2, 4)
    with torch.no_grad():
        table.weight[:, 1] = 3.0
    assert channels(proved(function, 2, 3, table=table)) == expected
