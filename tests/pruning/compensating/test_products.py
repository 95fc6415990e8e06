"""Products with a weight are seen wherever and however it is read."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_prune.modules.fast_paths import no_fast_paths
from lightning_prune.pruning.compensating.products import Products, SeenProduct


def seen(model: nn.Module, names: list[str], *inputs: Tensor) -> tuple[list[SeenProduct], Products]:
    found: list[SeenProduct] = []

    def see(product: SeenProduct) -> bool:
        found.append(product)
        return False

    with torch.no_grad(), no_fast_paths(), Products(model.eval(), names, see) as products:
        model(*inputs)
    return found, products


def test_a_part_of_a_packed_weight_is_told_from_the_others() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x, y = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    found, _ = seen(attention, ["in_proj_weight"], x, y, y)
    query = attention.in_proj_weight[:8]
    assert len(found) == 2  # queries, and keys with values
    assert torch.equal(found[0].view.of(attention.in_proj_weight.data), query.T)
    for one in found:
        rows = one.linear_map.features(one.inputs)
        weight = one.view.of(attention.in_proj_weight.data)
        expected = rows @ one.linear_map.matrices(weight).transpose(1, 2)
        if one.bias is not None:  # torch adds it afterwards to what does not lie in one piece
            expected = expected + one.bias.of(attention.in_proj_bias.data)
        assert torch.allclose(expected, one.linear_map.outputs(one.outputs), atol=1e-6)


def test_a_norm_that_reads_a_product_at_once_is_noted() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)
    )
    found, products = seen(net, ["0.weight", "2.weight"], torch.randn(2, 3, 8, 8))
    first, second = (one.view for one in found)
    assert products.norms == {first: "1.running_mean"}
    assert second.name == "2.weight"


def test_what_else_reads_a_weight_is_named() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(7, 4)

        def forward(self, index: Tensor) -> Tensor:
            return functional.linear(self.table(index), self.table.weight)

    found, products = seen(Tied(), ["table.weight"], torch.tensor([1, 2]))
    assert len(found) == 1
    assert products.others == {"table.weight": "embedding"}


@pytest.mark.parametrize("again", [True, False])
def test_a_product_is_computed_again_where_that_is_asked_for(again: bool) -> None:
    layer = nn.Linear(3, 2)

    def see(product: SeenProduct) -> bool:
        layer.weight.zero_()
        layer.bias.fill_(5.0)
        return again

    x = torch.randn(4, 3)
    before = layer(x).detach()
    with torch.no_grad(), Products(layer, ["weight"], see):
        result = layer(x)
    assert torch.equal(result, torch.full_like(result, 5.0) if again else before)


class Branch(nn.Module):
    """A residual branch; what its product is added to is what it reads, or nothing."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(3, 3, bias="without" not in kind), kind

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        if self.kind == "in place":
            x = x.clone()
            x += y
            return x
        if self.kind == "behind an activation":
            return y.relu() + x
        return y if self.kind == "alone" else x + y


@pytest.mark.parametrize("kind", ["sum", "in place", "sum without a bias"])
def test_what_a_product_is_added_to_is_seen(kind: str) -> None:
    x = torch.randn(2, 5, 3)
    added = []

    def see(product: SeenProduct) -> bool:
        assert product.added is not None
        added.append(product.added.clone())  # before anything is added to it
        return False

    model = Branch(kind)
    with torch.no_grad(), Products(model, ["layer.weight"], see):
        model(x)
    assert torch.equal(torch.stack(added), x.flatten(0, 1)[None])


@pytest.mark.parametrize("kind", ["alone", "behind an activation"])
def test_what_is_not_added_at_once_is_not(kind: str) -> None:
    found, _ = seen(Branch(kind), ["layer.weight"], torch.randn(2, 5, 3))
    assert [one.added for one in found] == [None]


def test_what_is_added_is_read_after_the_product_is_computed_again() -> None:
    model, x = Branch("sum"), torch.randn(2, 5, 3)

    def see(product: SeenProduct) -> bool:
        model.layer.weight.zero_()
        model.layer.bias.fill_(5.0)
        return True

    with torch.no_grad(), Products(model, ["layer.weight"], see):
        assert torch.equal(model(x), x + 5)
