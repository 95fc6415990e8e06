"""One place in the source serves several layers, which need different sizes there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.compaction import compact


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
