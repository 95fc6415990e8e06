"""One place in the source serves several layers, which need different sizes there."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.compaction import compact, load_compact, save_compact


class OneMethod(nn.Module):
    """One method serves several layers; the number of heads is an attribute of all of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.width = 4, 6
        self.qkv = nn.ModuleList(nn.Linear(24, 72) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(24, 24) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for index in range(len(self.qkv)):
            x = x + self.attend(x, index)
        return x

    def attend(self, x: Tensor, index: int) -> Tensor:
        batch, length, _ = x.shape
        parts = self.qkv[index](x).reshape(batch, length, 3, self.heads, self.width)
        return self.joined(*parts.permute(2, 0, 3, 1, 4), index)

    def joined(self, q: Tensor, k: Tensor, v: Tensor, index: int) -> Tensor:
        mixed = (q @ k.mT).softmax(-1) @ v
        return self.out[index](mixed.transpose(1, 2).flatten(2))


class OneMethodOfAWidth(OneMethod):
    def attend(self, x: Tensor, index: int) -> Tensor:
        batch, length, width = x.shape
        parts = self.qkv[index](x).reshape(batch, length, 3, self.heads, width // self.heads)
        return self.joined(*parts.permute(2, 0, 3, 1, 4), index)


class NestedFunction(OneMethod):
    def attend(self, x: Tensor, index: int) -> Tensor:
        width = self.width

        def heads_of(part: Tensor) -> Tensor:
            return part.view((*part.size()[:-1], self.heads, width)).transpose(1, 2)

        q, k, v = self.qkv[index](x).chunk(3, -1)
        q = heads_of(q)
        k = heads_of(k)
        return self.joined(q, k, heads_of(v), index)


class CheckedSizes(OneMethod):
    """Holds whole sizes against products of its attributes, as fairseq and older attentions do."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = self.qkv[:1], self.out[:1]

    def attend(self, x: Tensor, index: int) -> Tensor:
        batch, length, width = x.shape
        parts = self.qkv[index](x).transpose(0, 1).chunk(3, -1)
        q, k, v = (one.reshape(-1, batch * self.heads, self.width).transpose(0, 1) for one in parts)
        weights = torch.bmm(q, k.mT)
        if weights.size() != (batch * self.heads, length, length):
            raise ValueError
        mixed = torch.bmm(weights.softmax(-1), v)
        assert list(mixed.size()) == [batch * self.heads, length, self.width]
        return self.out[index](mixed.transpose(0, 1).reshape(length, batch, width).transpose(0, 1))


@pytest.mark.parametrize("kind", [OneMethod, OneMethodOfAWidth, NestedFunction, CheckedSizes])
@pytest.mark.parametrize("removed", [(1, 3), (0, 2), (2, 2)], ids=str)
def test_layers_of_one_method_lose_different_numbers_of_heads(kind, removed):
    model, x = kind().eval(), torch.randn(2, 5, 24)
    removed = removed[-len(model.qkv) :]
    for out, qkv, heads in zip(model.out, model.qkv, removed, strict=True):
        for part in range(3):
            rows = slice(24 * part, 24 * part + 6 * heads)
            qkv.weight.detach()[rows] = 0
            qkv.bias.detach()[rows] = 0
        out.weight.detach()[:, : 6 * heads] = 0
    other = torch.randn(3, 7, 24)
    expected = model(other)
    compact(model, x, latency=False)
    assert torch.allclose(model(other), expected, atol=1e-6)
    assert [len(qkv.weight) for qkv in model.qkv] == [72 - 18 * heads for heads in removed]


class Helping(nn.Module):
    """A helper is called for streams of 8 and 12 features; tables of full size are added there."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.narrow, self.wide, self.plain = nn.Linear(5, 8), nn.Linear(5, 12), nn.Linear(5, 12)
        self.shift = nn.Parameter(torch.randn(12))
        self.out = nn.ModuleList(nn.Linear(width, 3) for width in (8, 12, 12))

    def table(self, x: Tensor, width: int) -> Tensor:
        return torch.arange(width).to(x).sin() * x.sum(-1, keepdim=True)

    def placed(self, x: Tensor, table: Tensor | None) -> Tensor:
        return x if table is None else x + table

    def streams(self, x: Tensor) -> tuple[Tensor, ...]:
        narrow = self.placed(self.placed(self.narrow(x), None), self.table(x, 8))
        wide = self.placed(self.wide(x), table=self.table(x, 12))
        return narrow, wide, self.placed(self.plain(x), self.shift)

    def forward(self, x: Tensor) -> Tensor:
        return sum(out(part) for out, part in zip(self.out, self.streams(x), strict=True))

    def elsewhere(self, x: Tensor) -> Tensor:
        return self.out[0](self.placed(self.narrow(x), self.table(x, 8)))


class ThroughAnother(Helping):
    """All calls of the helper are made by one more method."""

    def more(self, x: Tensor, table: Tensor) -> Tensor:
        return 2 * self.placed(x, table)

    def streams(self, x: Tensor) -> tuple[Tensor, ...]:
        narrow = self.more(self.narrow(x), self.table(x, 8))
        wide = self.more(self.wide(x), self.table(x, 12))
        return narrow, wide, self.placed(self.plain(x), self.shift)


class CostVolume(nn.Module):
    """The mean over the features of two levels, as in PWC-Net."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.narrow, self.wide = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1)
        self.out = nn.ModuleList(nn.Conv2d(2, 3, 1) for _ in range(2))

    def volume(self, first: Tensor, second: Tensor) -> Tensor:
        costs = [torch.mean(first * second.roll(step, 3), 1, keepdim=True) for step in range(2)]
        return torch.cat(costs, 1)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.narrow(x).relu()
        wide = self.wide(narrow).relu()
        coarse = self.volume(narrow, narrow.flip(0))
        fine = self.volume(wide, wide.flip(0))
        return self.out[0](coarse) + self.out[1](fine)


def halved(model: nn.Module) -> nn.Module:
    """Zero three features of every layer but those that write outputs."""
    for layer in (layer for name, layer in model.named_children() if name != "out"):
        layer.weight.detach()[1:4] = 0
        layer.bias.detach()[1:4] = 0
    if isinstance(model, Helping):
        model.shift.detach()[1:4] = 0
        for out in model.out:
            out.weight.detach()[:, 1:4] = 0
    return model.eval()


HELPED = [
    (Helping, (2, 4, 5), ((3, 7, 5), (1, 1, 5))),
    (ThroughAnother, (2, 4, 5), ((3, 7, 5), (1, 1, 5))),
    (CostVolume, (2, 3, 6, 6), ((4, 3, 9, 5), (1, 3, 1, 2))),
]


@pytest.mark.parametrize(("kind", "shape", "others"), HELPED, ids=lambda given: str(given)[:40])
def test_a_helper_needs_something_else_for_each_of_its_callers(kind, shape, others, tmp_path):
    model = halved(kind())
    full = copy.deepcopy(model).double()
    assert compact(model, torch.randn(shape), latency=False).refused == {}
    assert (len(model.narrow.weight), len(model.wide.weight)) == (5, 9)
    save_compact(model, tmp_path / "compact.safetensors")
    loaded = load_compact(kind(), tmp_path / "compact.safetensors")
    for small in (model, loaded, pickle.loads(pickle.dumps(model))):
        for training in (False, True):
            for other in others:
                x = torch.randn(other).double()
                found = small.train(training).double()(x)
                assert torch.allclose(found, full.train(training)(x), atol=1e-12)


def test_it_compiles_and_is_exported() -> None:
    model, x = halved(Helping()), torch.randn(2, 4, 5)
    compact(model, x, latency=False)
    exported = torch.export.export(model, (x,)).module()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(exported(x), model(x))
    assert torch.allclose(compiled(x), model(x))


def test_a_caller_that_was_not_seen_raises():
    model = halved(Helping())
    compact(model, torch.randn(2, 4, 5), latency=False)
    with pytest.raises(RuntimeError, match="got a call from elsewhere"):
        model.elsewhere(torch.randn(2, 4, 5))


def test_a_helper_that_was_replaced_raises():
    model = halved(Helping())
    compact(model, torch.randn(2, 4, 5), latency=False)
    model.placed = lambda x, table: x
    with pytest.raises(RuntimeError, match="Expected a call of the method placed"):
        model(torch.randn(2, 4, 5))


class InAComprehension(Helping):
    def streams(self, x: Tensor) -> tuple[Tensor, ...]:
        tables = (self.table(x, 8), self.table(x, 12), self.shift)
        layers = (self.narrow, self.wide, self.plain)
        return [self.placed(one(x), table) for one, table in zip(layers, tables, strict=True)]


class ByItself(Helping):
    def placed(self, x: Tensor, table: Tensor | None, again: bool = True) -> Tensor:
        return self.placed(x + table, table, False) if again else x + table

    def streams(self, x: Tensor) -> tuple[Tensor, ...]:
        narrow = self.placed(self.narrow(x), self.table(x, 8))
        wide = self.placed(self.wide(x), self.table(x, 12))
        return narrow, wide, self.placed(self.plain(x), self.shift)


class OfAnother(nn.Module):
    """Calls the helper of a module from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = halved(Helping())

    def forward(self, x: Tensor) -> Tensor:
        inner = self.inner
        placed = inner.placed(inner.plain(x), inner.shift)
        return inner(x) + inner.out[2](placed)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (InAComprehension, "one call serves several sizes"),
        (ByItself, "calls itself"),
        (OfAnother, "one call serves several sizes"),
    ],
)
def test_what_no_caller_tells_apart_is_refused(kind, reason):
    model, x = kind().eval() if kind is OfAnother else halved(kind()), torch.randn(2, 4, 5)
    expected = model(x)
    assert reason in str(compact(model, x, latency=False).refused)
    assert torch.allclose(model(x), expected, atol=1e-6)
