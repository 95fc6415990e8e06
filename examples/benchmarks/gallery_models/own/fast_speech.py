"""A network that makes mel spectra of phonemes, all frames at once."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence


def sinusoids(length: int, width: int) -> Tensor:
    """Return positions as sines and cosines, shape ``[length, width]``."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(length).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


class SpeechBlock(nn.Module):
    """Attention and two convolutions, each followed by its residual sum and a layer norm."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.conv1 = nn.Conv1d(width, hidden, 9, padding=4)
        self.conv2 = nn.Conv1d(hidden, width, 1)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, length, width]`` to the same shape."""
        batch, length, width = x.shape
        parts = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.merge(mixed))
        y = self.conv2(F.relu(self.conv1(x.transpose(1, 2)))).transpose(1, 2)
        return self.norm2(x + y)


class FastSpeech(nn.Module):
    """Ren et al., 2019, "FastSpeech: Fast, Robust and Controllable Text to Speech", 1905.09263."""

    positions: Tensor

    def __init__(self, phonemes: int = 40, width: int = 32, mels: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(phonemes, width)
        self.register_buffer("positions", sinusoids(200, width))
        self.encoder = nn.Sequential(*(SpeechBlock(width, 2 * width, 4) for _ in range(2)))
        self.durations = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width), nn.Linear(width, 1)
        )
        self.decoder = nn.Sequential(*(SpeechBlock(width, 2 * width, 4) for _ in range(2)))
        self.mels = nn.Linear(width, mels)

    def forward(self, phonemes: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return mel spectra and log durations of texts.

        Args:
            phonemes: shape ``[batch, length]``.
            frames: how long each of them lasts, shape ``[batch, length]``.
        """
        x = self.embedding(phonemes) + self.positions[: phonemes.shape[1]]
        x = self.encoder(x)
        longer = [torch.repeat_interleave(h, n, 0) for h, n in zip(x, frames, strict=True)]
        y = pad_sequence(longer, batch_first=True)
        y = self.decoder(y + self.positions[: y.shape[1]])
        return self.mels(y), self.durations(x).squeeze(-1)
