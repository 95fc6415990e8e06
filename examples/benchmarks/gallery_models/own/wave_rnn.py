"""A network that predicts the next sample of a sound."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WaveRnn(nn.Module):
    """Kalchbrenner et al., 2018, "Efficient Neural Audio Synthesis", arXiv:1802.08435."""

    def __init__(self, mels: int = 8, width: int = 32, classes: int = 16) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv1d(mels, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1),
        )
        self.part = width // 4
        self.enter = nn.Linear(1 + mels + self.part, width)
        self.rnn1 = nn.GRU(width, width, batch_first=True)
        self.rnn2 = nn.GRU(width + self.part, width, batch_first=True)
        self.hidden1 = nn.Linear(width + self.part, width)
        self.hidden2 = nn.Linear(width + self.part, width)
        self.leave = nn.Linear(width, classes)

    def forward(self, samples: Tensor, mels: Tensor) -> Tensor:
        """Map samples ``[batch, steps]`` and ``[batch, steps, mels]`` to the next ones' logits."""
        auxiliary = self.network(mels.transpose(1, 2)).transpose(1, 2)
        parts = [auxiliary[:, :, self.part * i : self.part * (i + 1)] for i in range(4)]
        x = self.enter(torch.cat([samples.unsqueeze(-1), mels, parts[0]], 2))
        x = x + self.rnn1(x)[0]
        x = x + self.rnn2(torch.cat([x, parts[1]], 2))[0]
        x = F.relu(self.hidden1(torch.cat([x, parts[2]], 2)))
        x = F.relu(self.hidden2(torch.cat([x, parts[3]], 2)))
        return self.leave(x)
