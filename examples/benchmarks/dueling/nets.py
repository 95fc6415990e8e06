"""The networks that are pruned: two for images of 32 x 32 pixels, one for sequences."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 10


class Block(nn.Module):
    """Two convolutions around a shortcut without weights (option A of He et al., 2015, 1512.03385).

    Args:
        read: channels of the input.
        written: channels of the output; where more, the shortcut pads by zeros.
        stride: of the first convolution and of the shortcut.
    """

    def __init__(self, read: int, written: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(read, written, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(written)
        self.conv2 = nn.Conv2d(written, written, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(written)
        self.stride = stride
        self.padding = (written - read) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, read, height, width]`` to ``[batch, written, height', width']``."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0,) * 4 + (self.padding,) * 2)
        return F.relu(x + y)


class ResNet20(nn.Module):
    """The residual network of 20 layers for CIFAR-10 (He et al., 2015, 1512.03385).

    Args:
        width: channels of the first of three stages, each twice as wide as the one before.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        widths = [width, width, 2 * width, 4 * width]
        self.blocks = nn.Sequential(
            *(
                Block(widths[stage - (block == 0)], widths[stage], 1 + (block == 0 and stage > 1))
                for stage in (1, 2, 3)
                for block in range(3)
            )
        )
        self.head = nn.Linear(4 * width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[batch, 3, 32, 32]`` to logits ``[batch, 10]``."""
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Attention(nn.Module):
    """Self-attention with a projection each for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.head_width = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, tokens, width]`` to the same shape."""
        q, k, v = (
            layer(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        # In two products: torch's one is slow backwards in bfloat16 on a CPU.
        attention = (q @ k.transpose(-1, -2) * self.head_width**-0.5).softmax(-1)
        attended: Tensor = self.out((attention.to(v.dtype) @ v).transpose(1, 2).flatten(2))
        return attended


class Layer(nn.Module):
    """Attention and a perceptron, each behind a norm and around a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, tokens, width]`` to the same shape."""
        x = x + self.attention(self.norm1(x))
        hidden: Tensor = self.contract(F.gelu(self.expand(self.norm2(x))))
        return x + hidden


class ViT(nn.Module):
    """A small vision transformer (Dosovitskiy et al., 2020, 2010.11929) that means its tokens.

    Args:
        width: of the tokens.
        depth: layers.
        heads: of each layer.
        patch: pixels on a side of the patch that makes a token.
    """

    def __init__(self, width: int = 96, depth: int = 4, heads: int = 4, patch: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (32 // patch) ** 2, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[batch, 3, 32, 32]`` to logits ``[batch, 10]``."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        logits: Tensor = self.head(self.norm(self.layers(x)).mean(1))
        return logits


class RowReader(nn.Module):
    """An LSTM that reads an image row by row and says its class after the last one.

    Args:
        pixels: of a row.
        width: hidden units.
    """

    def __init__(self, pixels: int = 8, width: int = 128) -> None:
        super().__init__()
        self.rnn = nn.LSTM(pixels, width, batch_first=True)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[batch, 1, rows, pixels]`` to logits ``[batch, 10]``."""
        states, _ = self.rnn(images.squeeze(1))
        logits: Tensor = self.head(states[:, -1])
        return logits
