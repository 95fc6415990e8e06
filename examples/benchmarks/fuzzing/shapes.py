"""Shapes: nets that reshape, shift, cut and join, where channels and positions may meet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Between(nn.Module):
    """What happens between a stem that writes ``width`` channels and a head that reads them.

    Args:
        stem: from images.
        head: to images.
        width: between them.
    """

    def __init__(self, stem: nn.Module, head: nn.Module, width: int) -> None:
        super().__init__()
        self.stem, self.head, self.width = stem, head, width


class Mixing(_Between):
    """[B, H W, C] becomes [B, C, H, W] without a transpose."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        batch, _, height, width = y.shape
        return self.head(y.flatten(2).transpose(1, 2).reshape(batch, self.width, height, width))


class There(_Between):
    """[B, C, H, W] becomes [B, H W, C] and back."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        tokens = torch.cos(y.flatten(2).transpose(1, 2))
        return self.head(tokens.transpose(1, 2).reshape_as(y))


class Shuffled(_Between):
    """Channels become positions and positions channels."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.pixel_shuffle(self.stem(x), 2)
        return self.head(F.pixel_unshuffle(F.relu(y), 2))


class ShuffledChannels(_Between):
    """Channels of two groups are interleaved."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return self.head(y.reshape(batch, channels, height, width))


class Rolled(_Between):
    """Channels are rolled, and added to what they were."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head(y + y.roll(2, 1))


class Shifted(_Between):
    """Parts of the channels are shifted by a position."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        return self.head(torch.cat([left.roll(1, 2), F.pad(right, (1, 0))[..., :-1]], 1))


class Padded(_Between):
    """A stream gets more channels of zeros, or of something else."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        y = F.pad(y[:, 2:], (0, 0, 0, 0, 1, 1), value=0.5)
        return self.head(F.softplus(y))


class Cut(_Between):
    """Channels are read in slices of several widths."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        first, last = y[:, : self.width // 2], y[:, self.width // 2 :]
        return self.head(torch.cat([last, first.sigmoid()], 1)) + first.mean(1, keepdim=True)


class Strided(_Between):
    """Even and odd channels change places."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head(torch.cat([y[:, 1::2], F.relu(y[:, ::2])], 1))


class Unfolded(_Between):
    """Patches are gathered, and averaged again."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        batch, channels, height, width = y.shape
        patches = F.unfold(y, 3, padding=1).view(batch, channels, 9, height, width)
        return self.head(patches.amax(2))


class Means(_Between):
    """Means over pairs of channels, repeated."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        pairs = y.unflatten(1, (self.width // 2, 2)).mean(2)
        return self.head(pairs.repeat_interleave(2, 1) * y)


class Attended(_Between):
    """Channels attend to channels."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        flat = y.flatten(2)
        scores = (flat @ flat.transpose(1, 2) / flat.shape[-1]).softmax(-1)
        return self.head((scores @ flat).view_as(y))


class Outer(_Between):
    """Products of all pairs of channels, as in bilinear pooling."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        flat = y.flatten(2)
        gram = flat @ flat.transpose(1, 2) / flat.shape[-1]
        return self.head(y) + gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None, None]


class Written(_Between):
    """A part of the channels is written in place."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).clone()
        y[:, : self.width // 2] = y[:, : self.width // 2].sigmoid()
        y[:, self.width // 2 :] += 0.5
        return self.head(y)


class Indexed(_Between):
    """Channels in the order that a buffer says."""

    def __init__(self, *parts: nn.Module, width: int) -> None:
        super().__init__(*parts, width)
        self.register_buffer("order", torch.randperm(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x)[:, self.order])


class Sized(_Between):
    """Divided by a size that is read from the tensor."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head(y / y.shape[1] ** 0.5 + y.shape[1] / 10)


class Counted(_Between):
    """Divided by the number of elements, channels and positions among them."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head(y * 30 / y[0].numel())


PLAIN = (
    Mixing, Mixing, There, Shuffled, ShuffledChannels, Rolled, Shifted, Padded, Cut, Strided,
    Unfolded, Means, Attended, Outer, Written, Sized, Counted,
)  # fmt: skip
"""All that take a width by position."""
