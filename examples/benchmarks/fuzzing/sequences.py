"""Sequences: attention by hand and torch's, transformers and recurrent layers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Options = dict[str, Any]


class OwnAttention(nn.Module):
    """Attention by hand; every row keeps at least one position.

    Args:
        width: of the stream.
        heads: how many.
        size: channels of a head.
        how: ``"apart"`` (three layers), ``"together"`` (one layer) or ``"fused"``.
    """

    def __init__(self, width: int, heads: int, size: int, how: str, bias: bool) -> None:
        super().__init__()
        self.heads, self.size, self.how = heads, size, how
        inner = heads * size
        if how == "apart":
            self.q, self.k, self.v = (nn.Linear(width, inner, bias=bias) for _ in range(3))
        else:
            self.qkv = nn.Linear(width, 3 * inner, bias=bias)
        self.out = nn.Linear(inner, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, length, _ = x.shape
        if self.how == "apart":
            q, k, v = (
                f(x).view(batch, length, self.heads, self.size).transpose(1, 2)
                for f in (self.q, self.k, self.v)
            )
        else:
            qkv = self.qkv(x).reshape(batch, length, 3, self.heads, self.size)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
        kept = None if mask is None else mask[:, None, None, :]
        if self.how == "fused":
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=kept)
        else:
            scores = q @ k.transpose(-2, -1) / self.size**0.5
            if kept is not None:
                scores = scores.masked_fill(~kept, float("-inf"))
            y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(batch, length, self.heads * self.size))


class OneHead(nn.Module):
    """Attention of a single head, with an optional mask that is added."""

    def __init__(self, width: int, inner: int, values: int) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(width, inner), nn.Linear(width, inner)
        self.v, self.out = nn.Linear(width, values), nn.Linear(values, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(1, 2)
        if mask is not None:
            scores = scores + (~mask[:, None, :]).to(x.dtype) * -1e4
        return self.out(scores.softmax(-1) @ self.v(x))


class TorchAttention(nn.Module):
    """`nn.MultiheadAttention` on one stream.

    Args:
        width: of the stream.
        own: of what is read as keys and values.
        causal: whether positions read earlier ones only.
        told: whether the weights of the attention are read, too.
        options: of the attention, among them ``batch_first``.
    """

    def __init__(self, width: int, own: int, causal: bool, told: bool, options: Options) -> None:
        super().__init__()
        self.own, self.causal, self.told = own, causal, told
        sizes: Options = {} if own == width else {"kdim": own, "vdim": own}
        self.attention = nn.MultiheadAttention(width, 2, **options, **sizes)
        self.before = nn.Linear(width, own)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        first = self.attention.batch_first
        read = self.before(x) if self.own != x.shape[-1] else x
        if not first:
            x, read = x.transpose(0, 1), read.transpose(0, 1)
        length = read.shape[1 if first else 0]
        later = torch.ones(length, length, dtype=torch.bool).triu(1) if self.causal else None
        ignored = None if mask is None else ~mask
        y, weights = self.attention(
            x, read, read, key_padding_mask=ignored, attn_mask=later, need_weights=self.told
        )
        y = y if first else y.transpose(0, 1)
        return y if weights is None else y + weights.amax(-1, keepdim=True)


class Encoder(nn.Module):
    """`nn.TransformerEncoder`, or one layer of it."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        ignored = None if mask is None else ~mask
        return self.encoder(x, src_key_padding_mask=ignored)


class Decoder(nn.Module):
    """`nn.TransformerDecoderLayer` that reads what a layer makes of its own input."""

    def __init__(self, width: int, decoder: nn.Module) -> None:
        super().__init__()
        self.memory = nn.Linear(width, width)
        self.decoder = decoder

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        ignored = None if mask is None else ~mask
        return self.decoder(x, self.memory(x), memory_key_padding_mask=ignored)


class Attentive(nn.Module):
    """Attention between layers, with an optional mask of positions."""

    def __init__(
        self, stem: nn.Module, attention: nn.Module, body: nn.Module, shape: str, pool: bool
    ) -> None:
        super().__init__()
        self.stem, self.attention, self.body = stem, attention, body
        self.shape, self.pool = shape, pool

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.stem(x)
        y = self.attention(x, mask)
        x = self.body(x + y if self.shape == "residual" else y)
        if self.pool and mask is not None:
            kept = mask.unsqueeze(-1).to(x.dtype)
            return (x * kept).sum(1) / kept.sum(1)
        return x.mean(1) if self.pool else x


class Recurrent(nn.Module):
    """A recurrent layer between others.

    Args:
        rnn: with ``batch_first``.
        how: what is read of it: ``"all"``, ``"last"``, ``"state"`` or ``"packed"``.
    """

    def __init__(self, stem: nn.Module, rnn: nn.RNNBase, body: nn.Module, how: str) -> None:
        super().__init__()
        self.stem, self.rnn, self.body, self.how = stem, rnn, body, how

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.stem(x)
        if self.how == "packed" and lengths is not None:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
            return self.body(y).sum(1)
        y, state = self.rnn(x)
        if self.how == "state":
            return self.body((state[0] if isinstance(state, tuple) else state)[-1])
        return self.body(y[:, -1] if self.how == "last" else y)


class Cell(nn.Module):
    """A recurrent cell in a loop over positions."""

    def __init__(self, stem: nn.Module, cell: nn.RNNCellBase, body: nn.Module) -> None:
        super().__init__()
        self.stem, self.cell, self.body = stem, cell, body

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        state = None
        outputs = []
        for step in x.unbind(1):
            state = self.cell(step, state)
            outputs.append(self.body(state[0] if isinstance(state, tuple) else state))
        return torch.stack(outputs, 1)
