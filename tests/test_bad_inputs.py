"""Models on which tools stumble: each compacts, or is left alone with the reason."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import pytest
import torch
from support import helping
from support.oracle import half_of_every_group
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_prune.compaction import compact
from lightning_prune.coupling import couple
from lightning_prune.errors import ExampleInputsError, VerificationError


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(5, 8)
        self.b = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.b(self.mid(self.a(x)))

    def mid(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, 8)


class DataDecides(Base):
    def mid(self, x: Tensor) -> Tensor:
        return x.relu() if x.sum() > 0 else x.tanh()


class DataCounts(Base):
    def mid(self, x: Tensor) -> Tensor:
        for _ in range(int(x.sum().item()) % 3 + 1):
            x = x * 0.5
        return x


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient * ctx.saved_tensors[0]


class OwnGradient(Base):
    def mid(self, x: Tensor) -> Tensor:
        return Square.apply(x)


class Fold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.flatten(1).reshape(x.shape[0], -1, 8) * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


class OwnGradientWithASize(Base):
    def mid(self, x: Tensor) -> Tensor:
        return Fold.apply(x)


class Vectorised(Base):
    def mid(self, x: Tensor) -> Tensor:
        return torch.func.vmap(lambda row: row.relu() * 2)(x)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).relu()


class InnerWithASize(Inner):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).flatten(1).view(x.shape[0], -1, 8)


class Scripted(Base):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.jit.script(Inner())

    def mid(self, x: Tensor) -> Tensor:
        return self.inner(x)


class ScriptedWithASize(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.jit.script(InnerWithASize())


class Traced(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.jit.trace(InnerWithASize(), torch.randn(2, 6, 8))


def scripted_root() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)))


@torch.library.custom_op("lightning_prune_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


class OwnOperation(Base):
    def mid(self, x: Tensor) -> Tensor:
        return twice(x)


class SharedModule(Base):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(8, 8)

    def mid(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.shared(x).relu()
        return x


class SharedParameter(Base):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def mid(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


def quantized() -> nn.Module:
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear})


def partly_quantized() -> nn.Module:
    last = nn.Sequential(nn.Linear(8, 3))
    torch.ao.quantization.quantize_dynamic(last, {nn.Linear}, inplace=True)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), last)


class CompiledPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.compile(Base(), backend="eager")

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def compiled_in_place() -> nn.Module:
    model = Base()
    model.compile(backend="eager")
    return model


class Lit(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).flatten(1).view(x.shape[0], -1, 8))


@dataclass(eq=False)
class Data(nn.Module):
    width: int = 8

    def __post_init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, self.width), nn.Linear(self.width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).flatten(1).view(x.shape[0], -1, self.width))


class Answering(Base):
    """Attributes that come from nowhere."""

    def __getattr__(self, name: str) -> Any:
        return 8 if name == "width" else super().__getattr__(name)

    def mid(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, self.width)


class Spectral(Base):
    def mid(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x, dim=1), n=x.shape[1], dim=1)


class Sparse(Base):
    def mid(self, x: Tensor) -> Tensor:
        return torch.stack([torch.sparse.mm(torch.eye(6).to(x).to_sparse(), rows) for rows in x])


class ReentrantCheckpoint(Base):
    def mid(self, x: Tensor) -> Tensor:
        return checkpoint(helping.folded, x, 8, use_reentrant=True)


class Outside(Base):
    """Part of the computation is done by something else."""

    def mid(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(x.detach().numpy())


class WithoutParameters(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


@dataclass(frozen=True)
class Row:
    """A model, what goes of its groups, and why the rest is left alone."""

    build: Callable[[], nn.Module]
    removed: dict[str, int] | None = None
    reason: str = ""


ROWS = {
    "data decides": Row(DataDecides, {"a": 4}),
    "data counts": Row(DataCounts, {"a": 4}),
    "own gradient": Row(OwnGradient, {"a": 4}),
    "own gradient with a size": Row(
        OwnGradientWithASize, reason="what OwnGradientWithASize.mid calls has no source"
    ),
    "vmap": Row(Vectorised, {"a": 4}),
    "scripted": Row(Scripted, {"a": 4, "inner.layer": 4}),
    "scripted with a size": Row(
        ScriptedWithASize, {"a": 4, "inner.layer": 0}, "part of what self.inner does"
    ),
    "traced with a size": Row(Traced, {"a": 4, "inner.layer": 0}, "part of what self.inner does"),
    "scripted root": Row(scripted_root, {"0": 4}),
    "own operation": Row(OwnOperation, {}),
    "shared module": Row(SharedModule, {"a": 4}),
    "shared parameter": Row(SharedParameter, {"a": 4}),
    "quantized": Row(quantized, {}),
    "partly quantized": Row(partly_quantized, {"0": 4}),
    "compiled": Row(lambda: torch.compile(Base(), backend="eager"), {"_orig_mod.a": 4}),
    "compiled part": Row(CompiledPart, {"inner._orig_mod.a": 4}),
    "compiled in place": Row(compiled_in_place, {"a": 4}),
    "lightning module": Row(Lit, {"a": 4}),
    "data class": Row(Data, {"a": 4}),
    "attributes from nowhere": Row(Answering, {"a": 4}),
    "complex numbers": Row(Spectral, {"a": 4}),
    "sparse tensors": Row(Sparse, {}),
    "reentrant checkpoint": Row(
        ReentrantCheckpoint, reason="(aten::reshape in the root module, helping.py:12)"
    ),
    "numpy": Row(Outside, {}),
    "no parameters": Row(WithoutParameters, {}),
}


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.filterwarnings("ignore:torch.ao.quantization")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.filterwarnings("ignore:.*TypedStorage is deprecated")
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_it_compacts_or_is_left_alone_with_the_reason(row):
    torch._dynamo.reset()
    model, x = row.build(), torch.randn(4, 6, 5)
    zero_half(model, x)
    names, expected = list(model.state_dict()), [model(x).detach(), model(x[:1]).detach()]
    refused: Any
    if row.removed is None:
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(VerificationError) as raised:
            compact(model, x, latency=False)
        refused = raised.value
        assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    else:
        report = compact(model, x, latency=False)
        assert {group.name: group.removed for group in report.groups} == row.removed
        refused = report.refused or ""
    assert row.reason in str(refused)
    assert bool(row.reason) == bool(refused)
    assert list(model.state_dict()) == names
    torch.testing.assert_close([model(x), model(x[:1])], expected)


def zero_half(model: nn.Module, x: Tensor) -> None:
    groups = couple(model, x).groups
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for group, units in zip(groups, half_of_every_group(groups), strict=True):
            for member in group.parameters:
                positions = member.owned_by(units)
                parameters[member.axis.tensor].index_fill_(member.axis.dim, positions, 0.0)


def test_a_lazy_module_is_asked_to_run_first():
    model = nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 3))
    with pytest.raises(ValueError, match=r"got 0\.weight, which a lazy module.*Run the model once"):
        compact(model, torch.randn(2, 5))


def test_a_model_without_numbers_is_asked_for_its_weights():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 3))
    with pytest.raises(ValueError, match=r"got 0\.weight, which has a shape only"):
        compact(model, torch.randn(2, 5))


class Raising(Base):
    def mid(self, x: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_model_that_does_not_run_says_so_with_its_inputs():
    with pytest.raises(ExampleInputsError, match=r"Raising.forward.*shape \(2, 5\).*mat1"):
        compact(Raising(), torch.randn(2, 5))
