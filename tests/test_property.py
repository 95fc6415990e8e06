"""Whatever the network and whatever goes: the compact model computes what the masked one does.

Random networks are built of the supported layers, with sizes in attributes, in local variables and
in the tensors' shapes; random units of every group are zeroed, and random residual branches. Groups
may be left alone, but few.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.oracle import TOLERANCE, outputs, randomize, relative_error, zeroed
from torch import Tensor, nn

from lightning_prune.compaction import compact
from lightning_prune.coupling import couple
from lightning_prune.errors import VerificationError

EXAMPLES = 120
REFUSED_SHARE = 0.05
SETTINGS = settings(
    max_examples=EXAMPLES // 4,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# Parts of networks of images: from ``width`` channels to as many.


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.norm(self.first(x)))))


class Separable(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.each = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.point = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.point(self.each(x)))


class Grouped(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=2)
        self.norm = nn.GroupNorm(2, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.norm(self.conv(x)))


class UpAndDown(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(width, 8, 2, stride=2)
        self.up = nn.ConvTranspose2d(8, width, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.up(F.silu(self.down(x)))], 1)[:, : x.shape[1]] + x


class Dense(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.grow = nn.Conv2d(width, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(width + 4)
        self.shrink = nn.Conv2d(width + 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shrink(F.relu(self.norm(torch.cat([x, F.relu(self.grow(x))], 1))))


class Gate(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.both = nn.Conv2d(width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.both(x).chunk(2, 1)
        return self.out(value * torch.sigmoid(gate))


class Parts(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 1)
        self.sizes = [width - 2, 2]

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(x)
        first, second = x.split(self.sizes, 1)
        at = self.sizes[0]
        return torch.cat([F.relu(first), torch.tanh(second)], 1) + torch.cat(
            [x[:, :at], x[:, at:] * 2], 1
        )


class Squeeze(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.down = nn.Linear(width, 4)
        self.up = nn.Linear(4, width)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return x * scale.view(-1, self.width, 1, 1)


class Reshaped(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 1)
        self.settings = {"width": width}

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape  # noqa: N806 as everybody writes it
        C = self.settings["width"]  # noqa: N806
        return self.mix(x).reshape(B, C * H * W).view(B, C, H, W) / C**0.5


IMAGE_PARTS: tuple[Callable[[int], nn.Module], ...] = (
    Residual,
    Separable,
    Grouped,
    UpAndDown,
    Dense,
    Gate,
    Parts,
    Squeeze,
    Reshaped,
)

# Parts of networks of sequences.


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 10)
        self.down = nn.Linear(10, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class GatedMlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.both = nn.Linear(width, 12, bias=False)
        self.down = nn.Linear(6, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.both(self.norm(x)).split(6, -1)
        return x + self.down(F.silu(gate) * value)


class OwnNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.attention(y, y, y, need_weights=False)[0]


class OwnAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = 2
        self.qkv = nn.Linear(width, 24)
        self.out = nn.Linear(8, width)

    def forward(self, x: Tensor) -> Tensor:
        B, N, _ = x.shape  # noqa: N806
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(B, N, 8))


class ByHand(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, 6) for _ in range(3))
        self.out = nn.Linear(6, width)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(1, 2) / 6**0.5
        return x + self.out(scores.softmax(-1) @ self.v(x))


class Recurrent(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(width, 5, num_layers=2, batch_first=True)
        self.out = nn.Linear(5, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


class BothWays(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(width, 4, batch_first=True, bidirectional=True)
        self.out = nn.Linear(8, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.rnn(x)[0].reshape(x.shape[0], -1, 8))


class Windows(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        windows = x.view(x.shape[0], -1, 2, self.width).flatten(0, 1)
        return self.mix(windows).view(x.shape[0], x.shape[1], self.width)


SEQUENCE_PARTS: tuple[Callable[[int], nn.Module], ...] = (
    Mlp,
    GatedMlp,
    OwnNorm,
    Attention,
    OwnAttention,
    ByHand,
    Recurrent,
    BothWays,
    Windows,
)


class Images(nn.Module):
    def __init__(self, width: int, parts: list[Callable[[int], nn.Module]]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.parts = nn.Sequential(*(part(width) for part in parts))
        self.features = width * 4
        self.head = nn.Linear(self.features, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.parts(self.stem(x)), 2)
        return self.head(x.reshape(-1, self.features))


class Sequences(nn.Module):
    def __init__(self, width: int, parts: list[Callable[[int], nn.Module]]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, width)
        self.place = nn.Parameter(torch.randn(4, width))
        self.parts = nn.Sequential(*(part(width) for part in parts))
        self.head = nn.Linear(width, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.parts(self.embedding(tokens) + self.place).mean(1))


@dataclass
class Tally:
    """Groups of which something was to go, and those that were left alone."""

    wanted: int = 0
    refused: list[str] = field(default_factory=list)


def check(model: nn.Module, inputs: Tensor, seed: int, tally: Tally) -> None:
    model = randomize(model.double(), seed)
    structure = couple(model, inputs).structure
    groups = [*structure.coupled, *structure.branches]
    generator = torch.Generator().manual_seed(seed)
    removed = [torch.rand(group.units, generator=generator) < 0.4 for group in groups]
    model = zeroed(model, groups, removed, ["out in"] * len(groups))
    small = copy.deepcopy(model)
    tally.wanted += sum(bool(units.any()) for units in removed)
    try:
        tally.refused += compact(small, inputs, latency=False).refused.values()
    except VerificationError as error:  # nothing could go
        tally.refused += [str(error)] * sum(bool(units.any()) for units in removed)
    assert list(small.state_dict()) == list(model.state_dict())
    for given_inputs in (inputs, inputs[:1]):
        expected, obtained = (outputs(m.eval(), [given_inputs]) for m in (model, small))
        assert relative_error(expected, obtained) <= TOLERANCE


@pytest.mark.slow
def test_masked_and_compact_are_equal_always():
    tally = Tally()
    common = {
        "width": st.sampled_from([4, 6, 8]),
        "seed": st.integers(0, 99),
    }

    @SETTINGS
    @given(parts=st.lists(st.sampled_from(IMAGE_PARTS), min_size=1, max_size=4), **common)
    def images(parts: list[Callable[[int], nn.Module]], width: int, seed: int) -> None:
        inputs = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
        check(Images(width, parts), inputs.double(), seed, tally)

    @SETTINGS
    @given(parts=st.lists(st.sampled_from(SEQUENCE_PARTS), min_size=1, max_size=4), **common)
    def sequences(parts: list[Callable[[int], nn.Module]], width: int, seed: int) -> None:
        tokens = torch.randint(7, (3, 4), generator=torch.Generator().manual_seed(seed))
        check(Sequences(width, parts), tokens, seed, tally)

    images()
    sequences()
    assert tally.wanted > 100
    assert len(tally.refused) <= REFUSED_SHARE * tally.wanted, tally.refused
