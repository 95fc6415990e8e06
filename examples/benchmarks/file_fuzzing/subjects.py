"""Subjects: small models whose compact forms use everything that a file can hold."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lightning_prune as lp


class Convolutional(nn.Module):
    """Grouped convolutions, batch norm, a buffer that no state dict holds, and a whole number."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 3
        self.first, self.norm = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8)
        self.each = nn.Conv2d(8, 8, 3, groups=8)
        self.register_buffer("gain", torch.ones(8, 1, 1), persistent=False)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return three numbers for each image."""
        x = self.each(self.norm(self.first(x)).relu()) * self.gain
        return self.last(x.mean((2, 3)))


class Sized(nn.Module):
    """Sizes in attributes and in source, attention and norms, and methods that nothing calls."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.depth, self.act, self.tail = 8, 3, "relu", (4, 8)
        self.first, self.norm = nn.Linear(5, 8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return three numbers for each position."""
        x = getattr(F, self.act)(self.first(x))
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        x = x.flatten(1).view(x.shape[0], -1, self.width)
        first, second = x.split(5, -1)
        x = torch.cat([first, second], -1)
        return self.last(x.flatten(1).reshape(x.shape[0], 4, 8) / x.shape[-1] ** 0.5)

    def revision(self) -> str:
        """Return the version of git: a file that changes what is run here has broken out."""
        return subprocess.run(["git", "--version"], capture_output=True, text=True).stdout


class Residual(nn.Module):
    """Branches that add zeros: one whose sum is plain, and one whose sum serves others, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)
        self.inner = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return three numbers for each row."""
        x = self.first(x)
        x = x + self.inner(x) * self.scale
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


class Tied(nn.Module):
    """Tied weights, a norm that is called as a function, a mean over features, and slices."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(10, 8), nn.Linear(8, 10, bias=False)
        self.weight = nn.Parameter(torch.ones(8))
        self.inner = nn.Linear(8, 8)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return ten numbers for each token."""
        x = self.embedding(x)
        x = F.rms_norm(x, (8,), self.weight)
        x = torch.cat([x[..., :3], x[..., 3:].relu()], -1)
        return self.head(x + self.inner(x) * x.square().mean(-1, keepdim=True))


class Chosen(nn.Module):
    """A mixture with stacked experts, one for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(5, 4)
        self.up = nn.Parameter(torch.randn(4, 5, 6))
        self.down = nn.Parameter(torch.randn(4, 6, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return three numbers for each row."""
        pick = self.router(x).argmax(-1)
        hidden = torch.einsum("nio,ni->no", self.up[pick], x).relu()
        return torch.einsum("nio,ni->no", self.down[pick], hidden)


@dataclass(frozen=True, eq=False)
class Subject:
    """A compact model in a file.

    Args:
        build: makes a fresh model of full size.
        model: the compact model.
        x: what it is called with.
        expected: what it returns.
        data: the bytes of its file.
    """

    build: Callable[[], nn.Module]
    model: nn.Module
    x: Tensor
    expected: Tensor
    data: bytes


def _pruned(model: nn.Module, x: Tensor) -> None:
    lp.prune(model, x, sparsity=0.5, criterion=lp.Random(seed=1), granularity=lp.Channel())


def _sparse(model: nn.Module, x: Tensor) -> None:
    _pruned(model, x)
    lp.prune(model, x, sparsity=0.8, criterion=lp.Random(seed=1), granularity=lp.Weight())


def _without_experts(model: nn.Module, x: Tensor) -> None:
    lp.prune(model, x, sparsity=0.5, criterion=lp.Random(seed=1), granularity=lp.Expert())


def _without_branches(model: nn.Module, x: Tensor) -> None:
    for name in ("inner.2", "blocks.1"):
        for parameter in model.get_submodule(name).parameters():
            nn.init.zeros_(parameter)


def _subject(
    build: Callable[[], nn.Module],
    x: Tensor,
    damage: Callable[[nn.Module, Tensor], None],
    *,
    compress: bool = False,
) -> Subject:
    torch.manual_seed(0)
    model = build().eval()
    damage(model, x)
    lp.compact(model, x, latency=False)
    with TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.safetensors"
        lp.save_compact(model, path, compress=compress)
        return Subject(build, model, x, model(x), path.read_bytes())


@cache
def subjects() -> tuple[Subject, ...]:
    """Return every subject; they are made once."""
    torch.manual_seed(0)
    return (
        _subject(Convolutional, torch.randn(2, 2, 8, 8), _pruned),
        _subject(Sized, torch.randn(2, 4, 5), _pruned),
        _subject(Residual, torch.randn(4, 5), _without_branches),
        _subject(Tied, torch.randint(0, 10, (2, 4)), _pruned),
        _subject(Chosen, torch.randn(20, 5), _without_experts),
        _subject(Convolutional, torch.randn(2, 2, 8, 8), _sparse, compress=True),
        _subject(Tied, torch.randint(0, 10, (2, 4)), _pruned, compress=True),
    )
