"""Heads: nets made of a body, and what they return."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Plain(nn.Module):
    """A stem, a body and a head that keeps positions."""

    def __init__(self, stem: nn.Module, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem, self.body, self.head = stem, body, head

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(self.stem(x)))


class Pooled(Plain):
    """Positions are pooled before the head."""

    def __init__(self, *parts: nn.Module, dim: int, how: str) -> None:
        super().__init__(*parts)
        self.dim, self.how = dim, how

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x)).movedim(self.dim, 1).flatten(2)
        if self.how == "last":
            x = x[..., -1]
        elif self.how == "flat":
            x = x.flatten(1)
        else:
            x = x.amax(-1) if self.how == "max" else x.mean(-1)
        return self.head(x)


class Adaptive(Plain):
    """Images and signals pooled to two positions, with a width that is written down."""

    def __init__(self, *parts: nn.Module, features: int) -> None:
        super().__init__(*parts)
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x))
        pool = F.adaptive_avg_pool2d if x.dim() == 4 else F.adaptive_max_pool1d
        return self.head(pool(x, 2).reshape(-1, self.features))


class Exposed(Plain):
    """Returns what is inside as well."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        first = self.stem(x)
        last = self.body(first)
        out = self.head(last)
        return {"out": out, "mean": first.mean(), "aux": (last.sum(1), out.amax())}


class Auxiliary(Plain):
    """A second head in train mode."""

    def __init__(self, *parts: nn.Module, auxiliary: nn.Module) -> None:
        super().__init__(*parts)
        self.auxiliary = auxiliary

    def forward(self, x: Tensor) -> Any:
        first = self.stem(x)
        out = self.head(self.body(first))
        return (out, self.auxiliary(first)) if self.training else out


class Masked(nn.Module):
    """An optional mask of positions, which sets them to something after some stages.

    Args:
        stages: what runs one after the other.
        fills: after each stage, how the mask is applied, ``""`` for not at all.
        head: what runs at the end.
        dim: dimension of the channels.
        pool: how positions are pooled, ``""`` for not at all.
    """

    def __init__(
        self, stages: list[nn.Module], fills: list[str], head: nn.Module, dim: int, pool: str
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.fills, self.head, self.dim, self.pool = fills, head, dim, pool

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for stage, fill in zip(self.stages, self.fills, strict=True):
            x = stage(x)
            if mask is not None and fill:
                x = self.filled(x, mask.unsqueeze(self.dim), fill)
        if self.pool == "mean" and mask is not None:
            kept = mask.unsqueeze(self.dim).to(x.dtype)
            x = (
                (x * kept).flatten(2).sum(-1) / kept.flatten(2).sum(-1)
                if self.dim == 1
                else ((x * kept).sum(1) / kept.sum(1))
            )
        elif self.pool:
            x = x.flatten(2).mean(-1) if self.dim == 1 else x.mean(1)
        return self.head(x)

    def filled(self, x: Tensor, mask: Tensor, fill: str) -> Tensor:
        if fill == "product":
            return x * mask
        if fill == "where":
            return torch.where(mask, x, torch.full_like(x, 0.5))
        return x.masked_fill(~mask, float(fill))


class Optional(nn.Module):
    """Optional arguments, each of which adds something to the stream."""

    def __init__(self, stem: nn.Module, body: nn.Module, head: nn.Module, dim: int) -> None:
        super().__init__()
        self.stem, self.body, self.head, self.dim = stem, body, head, dim

    def forward(
        self, x: Tensor, scale: Tensor | None = None, offset: Tensor | float = 0.0
    ) -> Tensor:
        x = self.stem(x) + offset
        if scale is not None:
            x = x * scale
        return self.head(self.body(x))


class Conditional(nn.Module):
    """A second input with layers of its own, which may be left out."""

    def __init__(self, stem: nn.Module, other: nn.Module, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem, self.other, self.body, self.head = stem, other, body, head

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        x = self.stem(x)
        if condition is not None:
            x = x + self.other(condition)
        return self.head(self.body(x))


class Lengths(nn.Module):
    """Sequences of several lengths: what is behind the end is set to zero."""

    def __init__(self, first: nn.Module, second: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.head = first, second, head

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = (torch.arange(x.shape[1])[None] < lengths[:, None])[..., None]
        x = self.second(self.first(x) * mask)
        return self.head((x * mask).sum(1) / lengths[:, None])


class Tokens(nn.Module):
    """Tokens, with padding found in them, and perhaps a decoder that is the embedding."""

    def __init__(self, width: int, words: int, body: nn.Module, tied: bool, padded: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0 if padded else None)
        self.position = nn.Parameter(torch.randn(9, width))
        self.body = body
        self.decoder = nn.Linear(width, words, bias=not tied)
        self.padded = padded
        if tied:
            self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.position[: tokens.shape[1]]
        x = self.body(x)
        if self.padded:
            x = x * tokens.ne(0).unsqueeze(-1)
        return self.decoder(x)
