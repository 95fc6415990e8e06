"""A module whose tables lost rows of zeros reads them as it did in full size."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import ReadRows

KEPT = (1, 3, 4)
FULL = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(0))
FULL[[0, 2, 5]] = 0
X = torch.randn(10, 8, generator=torch.Generator().manual_seed(1))
OFFS = torch.tensor([2, 2, 5, 6, 9, 10], dtype=torch.int32)
grouped = pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="torch has no grouped_mm")


class Table(nn.Module):
    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table.clone())


def read(how: Any, x: Tensor = X) -> tuple[Tensor, Tensor]:
    """Return what a method gives with the full table, and with the rows that are left."""
    rows = ReadRows(("table",), KEPT, 6)
    full, small = Table(FULL), Table(FULL[list(KEPT)])
    return how(full, x), rows.around(how)(small, x)


READS: dict[str, Any] = {
    "numbers in a tensor": lambda m, x: m.table[torch.tensor([0, 1, 5, 4, 4, -1, -2])],
    "numbers in a matrix": lambda m, x: m.table[torch.tensor([[0, 1], [3, 2]])],
    "a number in a tensor": lambda m, x: m.table[torch.tensor(3)],
    "the number of a row that is gone": lambda m, x: m.table[torch.tensor(2)],
    "a number": lambda m, x: m.table[4],
    "a number from the end": lambda m, x: m.table[-1],
    "with all of the other dimensions": lambda m, x: m.table[torch.tensor([0, 4]), :, ...],
    "index_select": lambda m, x: torch.index_select(m.table, 0, torch.tensor([5, 3, 0])),
    "select": lambda m, x: m.table.select(0, 3),
    "transposed first": lambda m, x: m.table.transpose(1, 2)[torch.tensor([2, 3])],
    "in another type": lambda m, x: m.table.to(torch.float64)[torch.tensor([2, 3])],
    "its sizes": lambda m, x: torch.tensor([*m.table.shape, m.table.size(0), len(m.table)]),
    "its type": lambda m, x: torch.zeros(2, dtype=m.table.dtype) + m.table.dim(),
    "another tensor": lambda m, x: x[torch.tensor([9, 0])] + len(x),
}


@pytest.mark.parametrize("how", READS.values(), ids=READS)
def test_every_read_is_that_of_the_full_table(how):
    expected, found = read(how)
    assert torch.equal(expected, found)


@grouped
@pytest.mark.parametrize("offs", [OFFS, torch.full_like(OFFS, 10), OFFS.clamp(max=7)], ids=str)
def test_a_grouped_product_gives_zeros_for_groups_that_are_gone(offs):
    def product(module, x):
        return F.grouped_mm(x, module.table, offs=offs)[: offs[-1]]

    expected, found = read(product)
    assert torch.equal(expected, found)


@grouped
def test_gradients_are_those_of_the_full_table():
    grads = []
    for table, wrap in (
        (FULL, lambda f: f),
        (FULL[list(KEPT)], ReadRows(("table",), KEPT, 6).around),
    ):
        module, x = Table(table), X.clone().requires_grad_()

        def forward(module, x):
            y = F.grouped_mm(x, module.table.transpose(-2, -1), offs=OFFS)
            picked = module.table[torch.tensor([0, 3, 4])]
            return y.square().sum() + torch.einsum("eij,ei->", picked, x[:3]).square()

        wrap(forward)(module, x).backward()
        grads.append((x.grad, module.table.grad))
    assert torch.allclose(grads[0][0], grads[1][0], atol=1e-6)
    assert torch.allclose(grads[0][1][list(KEPT)], grads[1][1], atol=1e-6)


OTHERS: dict[str, Any] = {
    "a mask": lambda m, x: m.table[torch.arange(6) > 2],
    "a slice": lambda m, x: m.table[1:3],
    "a part of a row": lambda m, x: m.table[torch.tensor([0]), 2],
    "another dimension": lambda m, x: m.table.index_select(1, torch.tensor([0])),
    "a sum": lambda m, x: m.table.sum(0),
    "experts moved": lambda m, x: m.table.transpose(0, 1),
    "a product with all": lambda m, x: torch.einsum("ni,eio->neo", x, m.table),
    "in a list": lambda m, x: torch.cat([m.table, m.table]),
}


@pytest.mark.parametrize("how", OTHERS.values(), ids=OTHERS)
def test_what_cannot_be_read_so_is_an_error(how):
    with pytest.raises(RewriteError, match="Expected"):
        read(how)


def test_a_number_out_of_range_is_an_error():
    with pytest.raises(IndexError):
        read(lambda m, x: m.table[6])
    with pytest.raises(IndexError):
        read(lambda m, x: m.table[torch.tensor([6])])


def test_a_later_removal_keeps_of_the_rows_that_are_left():
    first = ReadRows(("table",), KEPT, 6)
    assert first.then(ReadRows(("table",), (0, 2), 3)) == ReadRows(("table",), (1, 4), 6)
    assert first.then(ReadRows(("table",), (0, 2), 4)) is None
    assert first.then(ReadRows(("other",), (0, 2), 3)) is None


def test_the_method_has_the_signature_and_source_of_the_users():
    def forward(self, x, scale=2.0):
        return x

    method = ReadRows(("table",), KEPT, 6).around(forward)
    assert list(inspect.signature(method).parameters) == ["self", "x", "scale"]
    assert "scale=2.0" in inspect.getsource(method)


@pytest.mark.parametrize(
    ("tables", "kept", "size"),
    [((), (0,), 2), (("a",), (), 2), (("a",), (1, 0), 2), (("a",), (0, 2), 2), (("a",), (0, 0), 2)],
)
def test_values_that_do_not_fit_are_refused(tables, kept, size):
    with pytest.raises(ValueError, match="of a correction to be"):
        ReadRows(tables, kept, size)
