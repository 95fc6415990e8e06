"""Readers of removed units go on returning what they did, as far as what is left can say it."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import lightning_prune as lp
from lightning_prune.compensations import LeastSquares
from lightning_prune.pruning.compensating import compensate
from lightning_prune.pruning.compensating.product_fit import ProductFit

EXACT = LeastSquares(ridge=1e-9)


def shrink(model: nn.Module, x: Any, **options: Any) -> Any:
    """Zero half of the units by magnitude, and compensate on ``x``."""
    chosen = {"sparsity": 0.5, "of": "units", "criterion": lp.Magnitude(), "batches": [x]}
    chosen |= {"compensation": EXACT, "allocation": lp.Uniform()}
    return lp.prune(model, x, **(chosen | options))


class TwiceTheSame(nn.Module):
    """Every unit of the hidden layer is there twice, the second time at a tenth of its size."""

    def __init__(self, first: nn.Module, second: nn.Module, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.norm = nn.Identity() if norm is None else norm
        with torch.no_grad():
            half = first.weight.shape[0] // 2
            first.weight[half:] = first.weight[:half] / 10
            if first.bias is not None:
                first.bias[half:] = first.bias[:half] / 10

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.second(self.first(x).relu()))


IMAGES = torch.randn(8, 3, 9, 9, generator=torch.manual_seed(0))
CONVOLUTIONS = {
    "a convolution": lambda: nn.Conv2d(8, 5, 3, padding=1),
    "a strided one": lambda: nn.Conv2d(8, 5, 3, 2),
    "a dilated one without a bias": lambda: nn.Conv2d(8, 5, 3, dilation=2, bias=False),
    "a transposed one": lambda: nn.ConvTranspose2d(8, 5, 2, 2),
    "a transposed one that overlaps": lambda: nn.ConvTranspose2d(8, 5, 3, 2, padding=1),
    "one of two groups": lambda: nn.Conv2d(8, 6, 3, groups=2),
}


@pytest.mark.parametrize("make", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_units_that_others_can_stand_for_leave_no_trace(make: Any) -> None:
    torch.manual_seed(0)
    model = TwiceTheSame(nn.Conv2d(3, 8, 3), make()).eval()
    if model.second.groups == 2:  # each group loses half of its own channels
        with torch.no_grad():
            order = torch.tensor([0, 1, 4, 5, 2, 3, 6, 7])
            for parameter in model.first.parameters():
                parameter.copy_(parameter[order])
    before = model(IMAGES)
    report = shrink(model, IMAGES, include=["first"])
    assert 2 * report.groups[0].removed == report.groups[0].units
    assert torch.allclose(model(IMAGES), before, atol=1e-4)
    lost, loses = report.compensated.errors["second.weight"]
    assert lost > 0.001
    assert loses < 1e-6
    masked = model(IMAGES)
    assert lp.compact(model, IMAGES, latency=False).max_rel_error < 1e-5
    assert torch.allclose(model(IMAGES), masked, atol=1e-5)


def test_a_linear_layer_and_sequences() -> None:
    torch.manual_seed(0)
    model = TwiceTheSame(nn.Linear(4, 8), nn.Linear(8, 3)).eval()
    x = torch.randn(6, 5, 4)
    before = model(x)
    shrink(model, x)
    assert torch.allclose(model(x), before, atol=1e-4)
    assert (model.second.weight == 0).sum() == 12


def test_a_product_with_a_parameter_that_is_read_the_other_way_round() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 8)
            self.second = nn.Parameter(torch.randn(8, 3) / 10)
            with torch.no_grad():
                self.first.weight[4:] = self.first.weight[:4] / 10
                self.first.bias[4:] = self.first.bias[:4] / 10

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x).relu() @ self.second

    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(20, 4)
    before = model(x)
    shrink(model, x)
    assert torch.allclose(model(x), before, atol=1e-4)


def test_a_constant_goes_into_the_mean_of_the_norm_behind() -> None:
    torch.manual_seed(0)
    second = nn.Conv2d(8, 5, 3, bias=False)
    model = TwiceTheSame(nn.Conv2d(3, 8, 3), second, nn.BatchNorm2d(5)).eval()
    with torch.no_grad():
        model.first.weight[4:] = 0
        model.first.bias[4:] = 0.5  # what is removed is a constant
        second.weight[:, 4:] /= 10
    before, variance = model(IMAGES), model.norm.running_var.clone()
    report = shrink(model, IMAGES, include=["first"])
    assert torch.allclose(model(IMAGES), before, atol=1e-4)
    assert report.compensated.norms == ["norm"]
    assert torch.equal(model.norm.running_var, variance)  # it reads what it did before


def test_heads_of_attention_and_what_reads_them() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 4, 16, dropout=0, batch_first=True).eval()
    x = torch.randn(16, 5, 8)
    plain = copy.deepcopy(model)
    before = model(x)
    report = shrink(model, x, granularity=lp.Head())
    shrink(plain, x, granularity=lp.Head(), compensation=None)
    assert set(report.compensated.errors) == {"self_attn.out_proj.weight"}
    lost, loses = report.compensated.errors["self_attn.out_proj.weight"]
    assert 0 < loses < 0.8 * lost
    error, without = ((m(x) - before).norm() for m in (model, plain))
    assert error < without


def test_later_readers_see_what_has_become_of_those_before() -> None:
    """Of three layers in a row, the last is nearer to its outputs than fitted on dense inputs."""
    torch.manual_seed(0)
    sizes = [(6, 12), (12, 12), (12, 12), (12, 4)]
    layers = [part for a, b in sizes for part in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers[:-1]).eval()
    x = torch.randn(400, 6)
    before = model(x).detach()
    report = shrink(model, x, compensation=LeastSquares(ridge=1e-4))
    names = list(report.compensated.errors)
    assert names == ["2.weight", "4.weight", "6.weight"]
    reached = functional.mse_loss(model(x).detach(), before) / before.var(0, correction=0).mean()
    assert float(reached) == pytest.approx(report.compensated.errors["6.weight"][1], rel=0.02)


def test_what_is_no_linear_map_is_skipped_with_the_reason() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 8)
            self.second = nn.LSTM(8, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))[0]

    x = torch.randn(6, 5, 4)
    report = shrink(Net().eval(), x, include=["first"])
    (reason,) = report.compensated.skipped.values()
    assert "reads it, which is no linear map" in reason
    assert "not compensated" in str(report)


def test_it_is_the_same_when_it_is_repeated() -> None:
    torch.manual_seed(0)
    model = TwiceTheSame(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 3)).eval()
    other = copy.deepcopy(model)
    for one in (model, other):
        shrink(one, IMAGES, compensation=LeastSquares())
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )


def test_without_data_it_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `batches` to be given for LeastSquares"):
        shrink(nn.Linear(4, 4), torch.randn(2, 4), batches=None)


def test_no_batches_are_refused_before_anything_changes() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="Expected batches to calibrate LeastSquares"):
        shrink(model, torch.randn(2, 4), batches=[])
    assert all(bool((weight != 0).all()) for weight in model.parameters())


def test_single_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected `granularity` to remove units that weights"):
        shrink(nn.Linear(4, 4), torch.randn(2, 4), granularity=lp.Weight())


def test_data_that_are_not_finite_leave_the_weights() -> None:
    torch.manual_seed(0)
    model = TwiceTheSame(nn.Linear(4, 8), nn.Linear(8, 3)).eval()
    weight = model.second.weight.detach().clone()
    x = torch.randn(6, 4)
    report = shrink(model, x, batches=[torch.full((6, 4), float("inf"))])
    assert report.compensated.skipped == {
        "second.weight": "it has read something that is not finite"
    }
    kept = model.second.weight != 0
    assert torch.equal(model.second.weight[kept], weight[kept])


def test_runs_that_begin_further_on_read_what_has_been_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large activations of early layers are held of some batches, later ones of all."""
    seen: dict[str, int] = {}
    fit = ProductFit.fit

    def count(self: ProductFit, *args: Any) -> None:
        seen[self.view.name] = self.rows
        fit(self, *args)

    monkeypatch.setattr(ProductFit, "fit", count)

    def pruned() -> nn.Module:
        torch.manual_seed(0)
        sizes = [(3, 8, 1), (8, 8, 2), (8, 8, 2), (8, 4, 1)]
        model = nn.Sequential(*(nn.Conv2d(a, b, 3, s, 1) for a, b, s in sizes)).eval()
        batches = list(torch.randn(12, 3, 16, 16).split(2))
        options = {"criterion": lp.Magnitude(), "of": "units", "batches": batches}
        lp.prune(model, batches[0], sparsity=0.5, compensation=LeastSquares(), **options)
        return model

    whole = pruned()
    assert seen == {"1.weight": 768, "2.weight": 192, "3.weight": 192}
    monkeypatch.setattr(compensate, "_HELD", 1)
    monkeypatch.setattr(compensate, "_ROWS", 4)
    parts, again = pruned(), pruned()
    assert seen == {"1.weight": 256, "2.weight": 160, "3.weight": 160}
    for mine, theirs in zip(parts.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(parts[1].weight, whole[1].weight)


def test_a_branch_makes_up_for_what_the_stream_has_lost() -> None:
    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.back = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second, self.end = nn.Linear(4, 12), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = x + self.back(self.first(x))  # half of the units say half of it
            return y + self.end(self.second(y))  # half of the units say all that is linear in `y`

    torch.manual_seed(0)
    model, x = Stream().eval(), torch.randn(300, 4)
    before = model(x)
    shrink(model, x, include=["first", "second"], compensation=LeastSquares(ridge=1e-6))
    assert torch.allclose(model(x), before, atol=1e-2)
