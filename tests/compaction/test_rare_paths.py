"""What a model does only for some inputs, or only while it trains, is not changed either."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.compaction import compact
from lightning_prune.criteria import Magnitude
from lightning_prune.errors import VerificationError
from lightning_prune.pruning import prune


class Rare(nn.Module):
    """Subtracts the mean over channels where a condition holds: no channel can go then."""

    def __init__(self, holds: Callable[[Rare, Tensor], bool], layer: type[nn.Module]) -> None:
        super().__init__()
        sizes = ((3, 16), (16, 16), (16, 4))
        options = {"kernel_size": 1} if layer is nn.Conv2d else {}
        self.first, self.second, self.last = (layer(*size, **options) for size in sizes)
        self.holds = holds

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu()
        if self.holds(self, x):
            hidden = hidden - hidden.mean(1, keepdim=True)
        return self.last(self.second(hidden).relu())


def assert_held(model: nn.Module, example: Tensor, x: Tensor, *, training: bool = False) -> None:
    """Compact a pruned model, and hold it to what it was."""
    prune(model, example, sparsity=0.5, criterion=Magnitude())
    before = copy.deepcopy(model)
    compact(model, example, latency=False)
    expected, obtained = (one.train(training)(x) for one in (before, model))
    assert torch.allclose(obtained, expected, rtol=1e-4, atol=1e-5)
    assert model.second.weight.shape[0] < 16  # what can go is gone


IMAGES: dict[str, tuple[Callable[[Rare, Tensor], bool], tuple[int, ...], float]] = {
    "wide": (lambda m, x: x.shape[-1] > 170 and x.shape[-2] <= 170, (1, 3, 160, 192), 1),
    "large values": (
        lambda m, x: x.shape[-1] >= 150 and bool(x.abs().max() > 10),
        (1, 3, 160, 160),
        10,
    ),
    "many examples": (lambda m, x: x.shape[0] >= 8, (8, 3, 160, 160), 1),
}


@pytest.mark.parametrize(("holds", "shape", "scale"), IMAGES.values(), ids=IMAGES)
def test_large_images(holds, shape, scale):
    torch.manual_seed(0)
    example = torch.randn(max(shape[0], 1), 3, 160, 160)
    assert_held(Rare(holds, nn.Conv2d), example, scale * torch.randn(shape))


def test_the_example_as_it_was_given():
    torch.manual_seed(0)
    example = torch.randn(8, 3)
    assert_held(Rare(lambda m, x: x.shape[0] >= 8, nn.Linear), example, torch.randn(8, 3))


def test_training_with_gradients():
    torch.manual_seed(0)
    model = Rare(lambda m, x: m.training and torch.is_grad_enabled(), nn.Linear)
    assert_held(model, torch.randn(4, 3), torch.randn(4, 3), training=True)


def test_it_is_compacted_in_inference_mode_too():
    torch.manual_seed(0)
    model = Rare(lambda m, x: False, nn.Linear)
    prune(model, torch.randn(4, 3), sparsity=0.5, criterion=Magnitude())
    with torch.inference_mode():
        compact(model, torch.randn(4, 3), latency=False)
    assert model.first.weight.shape[0] < 16
    model(torch.randn(4, 3)).sum().backward()


class Counts(nn.Module):
    """Counts its calls in a dict, and refuses some sizes after that."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 4, 1)
        self.stats = {"calls": 0}

    def forward(self, x: Tensor) -> Tensor:
        self.stats["calls"] += 1
        if x.shape[-1] % 8:
            raise ValueError("sizes are multiples of 8")
        return self.last(self.first(x).relu()) * (1 + 0.1 * self.stats["calls"])


def test_calls_that_a_model_counts_do_not_tell_copies_apart():
    model, x = Counts(), torch.randn(2, 3, 24, 24)
    prune(model, x, sparsity=0.5, criterion=Magnitude())
    compact(model, x, latency=False)
    assert model.first.weight.shape[0] < 16


class Padded(nn.Module):
    """Pads images to a multiple of its window, as Swin does."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.first, self.last, self.window = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 6, 1), window

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.gelu(self.first(x))
        below, right = (-size % self.window for size in h.shape[-2:])
        if below or right:
            h = nn.functional.pad(h, (0, right, 0, below))
        return self.last(h)


@pytest.mark.filterwarnings("ignore:Nothing was removed")
@pytest.mark.parametrize("window", [2, 7, 8, 16])
@pytest.mark.parametrize("times", [2, 5])
def test_constants_that_other_sizes_pad_with_zeros(window, times):
    torch.manual_seed(0)
    model, example = Padded(window), torch.randn(2, 3, times * window, times * window)
    with torch.no_grad():
        model.first.weight[:6] = 0  # these write a constant
    later = [torch.randn(2, 3, size, size) for size in (window, 3 * window, 3 * window + 1)]
    before = [model(x) for x in later]
    compact(model, example, latency=False)
    for x, expected in zip(later, before, strict=True):
        assert torch.allclose(model(x), expected, rtol=1e-4, atol=1e-5)


class Stages(nn.Module):
    """Takes the largest of the units of each stage; one call serves several widths."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 12), nn.Linear(12, 32)])
        self.last = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor | float = 0.0
        for stage in self.stages:
            x = stage(x)
            scale = scale + x.amax(-1, keepdim=True)
        return self.last(x) * scale


class ByName(nn.Module):
    """Reduces by an attribute, whose calls cannot be corrected."""

    def __init__(self) -> None:
        super().__init__()
        self.stages, self.last = nn.ModuleList([nn.Linear(6, 32)]), nn.Linear(32, 4)
        self.reduce = torch.amax

    def forward(self, x: Tensor) -> Tensor:
        h = self.stages[0](x)
        return self.last(h) * self.reduce(h, dim=-1, keepdim=True)


@pytest.mark.parametrize("kind", [Stages, ByName])
def test_what_cannot_be_corrected_is_refused_even_where_the_example_does_not_tell(kind):
    torch.manual_seed(0)
    model, x = kind(), torch.randn(8, 6)
    with torch.no_grad():  # all that is left may be negative, and zero the largest
        model.stages[-1].weight[16:] = 0
        model.stages[-1].bias[16:] = 0
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(VerificationError, match="amax"):
        compact(model, x, latency=False)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


class Seeds(nn.Module):
    """Adds queries that it computes from a parameter to what these attend to, as in a set."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = nn.Parameter(torch.randn(1, 3, 8))
        self.query, self.last, self.norm = nn.Linear(8, 8), nn.Linear(8, 3), nn.LayerNorm(8)
        self.key, self.value = nn.Linear(6, 8), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(self.seeds.repeat(len(x), 1, 1))
        return self.last(self.norm(query + (query @ self.key(x).mT).softmax(-1) @ self.value(x)))


@pytest.mark.filterwarnings("ignore:Nothing was removed")
@pytest.mark.parametrize("queries_too", [False, True])
def test_what_is_computed_from_a_parameter_writes_where_it_is_added(queries_too):
    torch.manual_seed(0)
    model, example = Seeds(), torch.randn(2, 5, 6)
    layers = [model.key, model.value, model.norm, *([model.query] if queries_too else [])]
    with torch.no_grad():
        for parameter in (one for layer in layers for one in (layer.weight, layer.bias)):
            parameter[:3] = 0
        model.last.weight[:, :3] = 0
    other = torch.randn(3, 7, 6)
    before = model(other)
    report = compact(model, example, latency=False)
    assert torch.allclose(model(other), before, atol=1e-5)
    assert report.refused == {}  # nothing wrong was even tried
    assert len(model.query.weight) == (5 if queries_too else 8)
