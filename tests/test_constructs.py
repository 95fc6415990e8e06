"""Single constructs on which pruning tools stumble, end to end.

Half of the units of every group are zeroed; `compact` must remove them all, exactly, and leave the
names of the state dict as they were. Sizes stand in the source as numbers and in attributes.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.oracle import half_of_every_group, randomize, zeroed
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lightning_prune.compaction import compact
from lightning_prune.coupling import couple

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


class Shortcut(nn.Module):
    """A shortcut that fills new channels with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 16, 3, 2, 1)
        self.last = nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        zeros = torch.zeros(len(x), 8, 4, 4)
        return self.last(self.wide(y).relu() + torch.cat([y[:, :, ::2, ::2], zeros], 1))


class Cell(nn.Module):
    """A recurrent cell by hand, its state made in the forward pass."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.reads = nn.Linear(6, width)
        self.repeats = nn.Linear(width, width)
        self.last = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(x.shape[0], self.width)
        for step in x.unbind(1):
            state = torch.tanh(self.reads(step) + self.repeats(state))
        return self.last(state)


class Masked(nn.Module):
    """A mask of ones of a size in the source."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x) * torch.ones(8))


class Blurred(nn.Module):
    """A blur that is expanded to the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = 8
        self.first = nn.Conv2d(3, 8, 3)
        self.register_buffer("kernel", torch.rand(1, 1, 3, 3))
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.expand(self.channels, -1, -1, -1)
        return self.last(F.conv2d(self.first(x), kernel, groups=self.channels))


class Selective(nn.Module):
    """Two branches weighted by a softmax over them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(3, 8, 5, padding=2)
        self.gate = nn.Linear(8, 16)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.stack([self.first(x), self.second(x)], 1)
        gates = self.gate(both.sum(1).mean((2, 3))).view(len(x), 2, 8).softmax(1)
        return self.last((both * gates[..., None, None]).sum(1))


class Involution(nn.Module):
    """Kernels computed for each position, shared by groups of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.kernels = nn.Conv2d(8, 36, 1)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        kernels = self.kernels(y).view(len(x), 4, 1, 9, 8, 8)
        patches = F.unfold(y, 3, padding=1).view(len(x), 4, 2, 9, 8, 8)
        return self.last((kernels * patches).sum(3).view(len(x), 8, 8, 8))


class Shuffled(nn.Module):
    """Pixels shuffled by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 16, 1)
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(self.first(x)).view(len(x), 4, 2, 2, 8, 8)
        return self.last(y.permute(0, 1, 4, 2, 5, 3).reshape(len(x), 4, 16, 16))


class Adapted(nn.Module):
    """A weight with a low-rank adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.middle = nn.Linear(8, 7)
        self.a = nn.Parameter(torch.randn(4, 8))
        self.b = nn.Parameter(torch.randn(7, 4))
        self.last = nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.middle.weight + self.b @ self.a
        return self.last(F.linear(self.first(x), weight, self.middle.bias))


class Hyper(nn.Module):
    """A weight that another layer writes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.code = nn.Parameter(torch.randn(4))
        self.writes = nn.Linear(4, 56)
        self.last = nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.writes(self.code).view(7, 8)
        return self.last(F.linear(self.first(x), weight))


def normed(norm: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        with torch.no_grad():  # the older norms keep their weight, which must hold no graph
            middle = norm(nn.Conv2d(8, 6, 3))
        return nn.Sequential(nn.Conv2d(3, 8, 3), middle, nn.ReLU(), nn.Conv2d(6, 2, 1))

    return build


class Projected(nn.Module):
    """A recurrent layer with projections."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 8, 2, batch_first=True, proj_size=4, bidirectional=True)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rnn(x)[0][:, -1])


ROWS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "shortcut_of_zeros": (Shortcut, IMAGES),
    "state_of_zeros": (lambda: Cell(8), TOKENS),
    "mask_of_ones": (Masked, TOKENS),
    "expanded_kernel": (Blurred, IMAGES),
    "selective_kernels": (Selective, IMAGES),
    "involution": (Involution, IMAGES),
    "shuffled_pixels": (Shuffled, IMAGES),
    "adapter": (Adapted, TOKENS),
    "written_weight": (Hyper, TOKENS),
    "weight_norm": (normed(parametrizations.weight_norm), IMAGES),
    "older_weight_norm": (normed(nn.utils.weight_norm), IMAGES),
    "spectral_norm": (normed(parametrizations.spectral_norm), IMAGES),
    "older_spectral_norm": (normed(nn.utils.spectral_norm), IMAGES),
    "projections": (Projected, TOKENS),
}


@pytest.mark.filterwarnings("ignore:.torch.nn.utils.*_norm. is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("build", "inputs"), ROWS.values(), ids=ROWS)
def test_half_of_every_group_goes(build: Callable[[], nn.Module], inputs: Tensor) -> None:
    model = randomize(build())
    coupling = couple(model, inputs)
    removed = half_of_every_group(coupling.groups)
    model = zeroed(model, coupling.groups, removed, ["out in"] * len(removed))
    names = list(model.state_dict())
    report = compact(model, inputs, latency=False)
    assert report.refused == {}
    assert [group.removed for group in report.groups] == [int(units.sum()) for units in removed]
    assert len(report.groups) > 0
    assert list(model.state_dict()) == names
