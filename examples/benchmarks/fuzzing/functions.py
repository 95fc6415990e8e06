"""Functions: torch's operations on one tensor, each of which some net uses somewhere.

Channels are moved to the last dimension; the first one is that of examples, between them are
positions, if any.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]

EACH: dict[str, Function] = {
    "abs": torch.abs,
    "square": torch.square,
    "root": lambda x: x.abs().add(1e-3).sqrt(),
    "root of square": lambda x: (x * x + 1e-2) ** 0.5,
    "logarithm": lambda x: (x.abs() + 1).log(),
    "log1p": lambda x: x.square().log1p(),
    "exponential": lambda x: x.clamp(max=2).exp(),
    "expm1": lambda x: x.clamp(max=2).expm1(),
    "sine": torch.sin,
    "arctangent": torch.atan,
    "error function": torch.erf,
    "reciprocal": lambda x: (1 + x.abs()).reciprocal(),
    "one minus": lambda x: 1 - x,
    "negative": torch.neg,
    "power": lambda x: torch.pow(2.0, -x.abs()),
    "sign": lambda x: torch.sign(x) * 0.3 + x,
    "mish": F.mish,
    "celu": F.celu,
    "selu": F.selu,
    "tanh-like gelu": lambda x: F.gelu(x, approximate="tanh"),
    "hard shrink": lambda x: F.hardshrink(x, 0.2),
    "tanh shrink": F.tanhshrink,
    "threshold": lambda x: F.threshold(x, 0.1, 0.4),
    "clamp from below": lambda x: x.clamp(min=0.2),
    "clamp from above": lambda x: x.clamp(max=-0.1),
    "where": lambda x: torch.where(x > 0.1, x, 0.5 - 0.1 * x),
    "where not": lambda x: x.masked_fill(x < 0.1, 0.3),
    "as a number": lambda x: x * 0.5 + (x > 0.2).to(x.dtype),
    "nan to number": lambda x: torch.nan_to_num(x / x.abs().clamp_min(0.3)),
    "added mul": lambda x: torch.addcmul(x, x, torch.sigmoid(x), value=0.5),
    "lerp": lambda x: torch.lerp(x, torch.ones_like(x), 0.25),
    "hypotenuse": lambda x: torch.hypot(x, torch.ones_like(x)),
    "log-sum": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "minimum": lambda x: torch.minimum(x, 0.3 - x),
    "zeros": lambda x: x + torch.zeros_like(x),
    "in place": lambda x: x.clone().add_(0.3).relu_(),
    "detached": lambda x: x + x.detach().cos(),
}
"""Of each element for itself."""

OVER_CHANNELS: dict[str, Function] = {
    "mean": lambda x: x - x.mean(-1, keepdim=True),
    "sum": lambda x: x + 0.1 * x.sum(-1, keepdim=True),
    "maximum": lambda x: x - x.amax(-1, keepdim=True),
    "minimum": lambda x: x * x.amin(-1, keepdim=True),
    "deviation": lambda x: x / (x.std(-1, keepdim=True) + 0.5),
    "variance": lambda x: x * torch.rsqrt(x.var(-1, correction=0, keepdim=True) + 0.5),
    "length": lambda x: x / (x.norm(dim=-1, keepdim=True) + 0.5),
    "absolute length": lambda x: x / (x.abs().sum(-1, keepdim=True) + 0.5),
    "log-sum": lambda x: x - torch.logsumexp(x, -1, keepdim=True),
    "softmax": lambda x: x.softmax(-1),
    "log softmax": lambda x: x.log_softmax(-1),
    "product": lambda x: x + (1 + x.tanh()).prod(-1, keepdim=True) * 0.1,
    "running sum": lambda x: x.cumsum(-1) * 0.2,
    "sorted": lambda x: x.sort(-1).values,
    "largest": lambda x: x * (x >= x.topk(2, -1).values[..., -1:]),
    "count": lambda x: x / (1 + (x != 0).sum(-1, keepdim=True)),
    "reversed": lambda x: x.flip(-1) + 0.5 * x,
    "rolled": lambda x: x.roll(1, -1) * x,
    "repeated": lambda x: x + x.mean(-1, keepdim=True).expand_as(x),
    "first": lambda x: x * torch.sigmoid(x[..., :1]),
    "neighbours": lambda x: F.avg_pool1d(x.flatten(0, -2)[:, None], 3, 1, 1).reshape(x.shape),
    "layer norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "gram": lambda x: x * (x.unsqueeze(-2) @ x.unsqueeze(-1)).squeeze(-1),
}
"""Where the channels of a position meet."""

OVER_POSITIONS: dict[str, Function] = {
    "mean": lambda x: x - x.mean(1, keepdim=True),
    "softmax": lambda x: x * x.softmax(1),
    "running sum": lambda x: x.cumsum(1) * 0.3,
    "maximum": lambda x: x.amax(1, keepdim=True) - 0.5 * x,
    "sorted": lambda x: x.sort(1).values,
    "rolled": lambda x: x + x.roll(1, 1),
    "shifted": lambda x: x + F.pad(x.movedim(1, -1), (1, 0), value=0.4)[..., :-1].movedim(-1, 1),
    "examples": lambda x: x + 0.3 * x.mean(0, keepdim=True),
    "example before": lambda x: x + 0.3 * x.roll(1, 0),
    "spectrum": lambda x: torch.fft.fft(x, dim=1).abs() * 0.3,
    "pool": lambda x: F.max_pool1d(
        x.flatten(1, -2).transpose(1, 2), 3, 1, 1
    ).transpose(1, 2).reshape(x.shape),
    "deviation": lambda x: (x - x.mean(1, keepdim=True)) * torch.rsqrt(
        x.var(1, correction=0, keepdim=True) + 1e-2
    ),
    "gathered": lambda x: x.gather(1, torch.zeros_like(x, dtype=torch.int64)) + x,
    "selected": lambda x: x.index_select(1, torch.arange(x.shape[1] - 1, -1, -1)) * x,
}  # fmt: skip
"""Where positions, or examples, meet."""

FAMILIES = {"each": EACH, "channels": OVER_CHANNELS, "positions": OVER_POSITIONS}


class Apply(nn.Module):
    """One of these functions.

    Args:
        dim: dimension of the channels.
        family: where to look it up.
        name: of the function.
    """

    def __init__(self, dim: int, family: str, name: str) -> None:
        super().__init__()
        self.dim, self.family, self.name = dim, family, name

    def forward(self, x: Tensor) -> Tensor:
        return FAMILIES[self.family][self.name](x.movedim(self.dim, -1)).movedim(-1, self.dim)

    def extra_repr(self) -> str:
        """Return the name of the function."""
        return f"{self.family}: {self.name}"


def shift_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Return another output: a hook."""
    return output + 0.25


def square_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return another input: a hook before."""
    return (inputs[0] * inputs[0].tanh(),)


class Experts(nn.Module):
    """A few experts, whose weights lie in one tensor, mixed or chosen by a gate."""

    def __init__(self, dim: int, width: int, hidden: int, chosen: bool) -> None:
        super().__init__()
        self.dim, self.chosen = dim, chosen
        self.gate = nn.Linear(width, 3)
        self.up = nn.Parameter(torch.randn(3, width, hidden))
        self.bias = nn.Parameter(torch.zeros(3, 1, hidden))
        self.down = nn.Parameter(torch.randn(3, hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.dim, -1)
        flat = x.reshape(-1, x.shape[-1])
        weights = self.gate(flat).softmax(-1)
        if self.chosen:
            weights = weights * F.one_hot(weights.argmax(-1), 3)
        hidden = F.gelu(torch.matmul(flat, self.up) + self.bias)
        y = torch.bmm(hidden, self.down)
        return torch.einsum("enc,ne->nc", y, weights).reshape(x.shape).movedim(-1, self.dim)


class Siamese(nn.Module):
    """One layer that reads two streams."""

    def __init__(self, dim: int, shared: nn.Module, reader: nn.Module) -> None:
        super().__init__()
        self.dim, self.shared, self.reader = dim, shared, reader

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.shared(x), self.shared(torch.sin(x))
        return self.reader(torch.cat([first * second, first - second], self.dim))
