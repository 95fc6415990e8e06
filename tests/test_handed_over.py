"""What Python is handed of the data, numbers and sizes, may be another next time."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net
from torch import Tensor, nn

import lightning_prune as lp


def net(forward: Callable[[Net, Tensor], Tensor], bias: float = 0.0) -> Net:
    """Return a net of two layers; half of the units between them write the same always."""
    made = Net(forward, first=nn.Linear(6, 8), last=nn.Linear(8, 5)).double()
    with torch.no_grad():
        made.first.weight[:4] = 0
        made.first.bias[:4] = bias
    return made


def of_data(h: Tensor, x: Tensor) -> dict[str, Callable[[], float]]:
    return {
        "unique": lambda: float(torch.unique(h.sign()).numel()),
        "a selection": lambda: 1.0 + h[h <= 0].numel(),
        "nonzero": lambda: 1.0 + len((h == 0).nonzero()),
        "masked_select": lambda: 1.0 + len(h.masked_select(h < 1e-3)),
    }


@pytest.mark.parametrize("name", of_data(torch.zeros(1), torch.zeros(1)))
def test_units_that_decide_sizes_stay(name):
    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.first(x)
        return m.last(h) / of_data(h, x)[name]()

    coupling = lp.couple(net(forward), torch.randn(4, 6, dtype=torch.float64))
    assert coupling.groups == ()


LATER = {
    "a number that was zero by chance": lambda m, x: m.last(
        m.first(x) + 0.1 * int((x < 0).sum().item())
    ),
    "a size that was zero by chance": lambda m, x: m.last(m.first(x) + 0.1 * x[x < 0].shape[0]),
    "what equals zero now and then": lambda m, x: m.last(
        (m.first(x) == F.relu(x[:, :1] + 0.1)).to(x.dtype)
    ),
}


@pytest.mark.parametrize("forward", LATER.values(), ids=LATER)
@pytest.mark.filterwarnings("ignore:Nothing was removed")
def test_what_was_zero_by_chance_is_not_removed(forward):
    model, x = net(forward), torch.rand(4, 6, dtype=torch.float64)
    later = [torch.randn(4, 6, dtype=torch.float64) - shift for shift in (0, 10)]
    before = [model(one) for one in later]
    lp.compact(model, x, latency=False)
    assert all(map(torch.allclose, map(model, later), before))


def test_a_sum_that_starts_at_zero_removes_what_is_zero():
    model = net(lambda m, x: m.last(sum([m.first(x), m.first(x)])))
    lp.compact(model, torch.randn(4, 6, dtype=torch.float64), latency=False)
    assert model.first.weight.shape == (4, 6)


def test_constants_of_a_vector_without_a_batch_are_folded():
    model, x = net(lambda m, x: m.last(m.first(x[0])), bias=1.0), torch.randn(4, 6).double()
    before = model(x)
    lp.compact(model, x, latency=False)
    assert model.first.weight.shape == (4, 6)
    assert torch.allclose(model(x), before)


def test_a_number_that_is_mapped_over_is_no_obstacle():
    def forward(m: Net, x: Tensor) -> Tensor:
        return torch.vmap(lambda row: m.last(m.first(row) / (8 * row.norm() + 1e-3)))(x)

    model, x = net(forward), torch.randn(4, 6, dtype=torch.float64)
    before = model(x)
    lp.compact(model, x, latency=False)
    assert torch.allclose(model(x), before)
