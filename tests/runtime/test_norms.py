"""Wide norms are as near to the norm of full width as torch's own rounding."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_prune.compaction import compact, load_compact, save_compact
from lightning_prune.coupling import couple
from lightning_prune.criteria import Magnitude
from lightning_prune.pruning import prune
from lightning_prune.runtime.norms import (
    WideGroupNorm,
    WideLayerNorm,
    WideRMSNorm,
    show_as_plain_norms,
    wide_group_norm,
    wide_layer_norm,
    wide_rms_norm,
)
from lightning_prune.runtime.swaps import WidenNorm

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
FULL, LEFT = 64, 40


def widened(norm: nn.Module) -> nn.Module:
    """Return a norm of what is left of 64 features, over all of them."""
    small = copy.deepcopy(norm)
    for vector in small.parameters():
        vector.data = vector.data[:LEFT].clone()
    if isinstance(small, nn.GroupNorm):
        small.num_channels = LEFT
    else:
        small.normalized_shape = (LEFT,)
    swap = WidenNorm(FULL)
    for name, value in swap.attributes.items():
        setattr(small, name, value)
    small.__class__ = swap.class_for(small)
    return small


def random(norm: nn.Module) -> nn.Module:
    for vector in norm.parameters():
        nn.init.normal_(vector)
    return norm


NORMS = {
    "layer norm": lambda: nn.LayerNorm(FULL),
    "layer norm without bias": lambda: nn.LayerNorm(FULL, bias=False),
    "group norm": lambda: nn.GroupNorm(1, FULL),
    "rms norm": lambda: nn.RMSNorm(FULL),
    "rms norm with eps": lambda: nn.RMSNorm(FULL, eps=1e-3),
}


def features(dtype: torch.dtype, scale: float) -> Tensor:
    x = (torch.randn(256, FULL) * scale + scale / 3).to(dtype)
    x[:, LEFT:] = 0
    return x


@pytest.mark.parametrize("build", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [3.0, 0.003])
def test_it_is_as_near_to_the_truth_as_torchs_norm(build, dtype, scale):
    norm, x = random(build()).to(dtype), features(dtype, scale)
    exact = copy.deepcopy(norm).double()
    if isinstance(exact, nn.RMSNorm) and exact.eps is None:
        exact.eps = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    truth = exact(x.double())[:, :LEFT]
    error = (norm(x)[:, :LEFT].double() - truth).abs().max()
    own = (widened(norm)(x[:, :LEFT]).double() - truth).abs().max()
    assert own <= 2 * error + 16 * torch.finfo(torch.float64).eps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.skipif(
    torch.__version__.startswith("2.6"), reason="torch 2.6 takes the eps of the inputs' type"
)
def test_in_low_precision_it_rounds_once_as_torch_does(dtype):
    x = features(dtype, 0.3)
    norm = random(nn.RMSNorm(FULL)).to(dtype)
    differs = norm(x)[:, :LEFT] != widened(norm)(x[:, :LEFT])
    assert differs.float().mean() < 0.001


@pytest.mark.skipif(
    torch.__version__.startswith("2.6"), reason="torch 2.6 takes the eps of the inputs' type"
)
def test_by_default_eps_is_that_of_the_type_computed_in():
    x = torch.full((1, 4), 1e-3, dtype=torch.bfloat16)
    assert torch.equal(wide_rms_norm(x, 4, None, None), F.rms_norm(x, [4]))
    x = x.double()
    torch.testing.assert_close(wide_rms_norm(x, 4, None, None), F.rms_norm(x, [4]))


@pytest.mark.parametrize(("weighted", "biased"), list(itertools.product([True, False], repeat=2)))
def test_layer_norm_over_the_width_that_there_was(weighted, biased):
    x = torch.randn(3, 4, 5, dtype=torch.float64) + 3
    weight = torch.randn(5, dtype=torch.float64) if weighted else None
    bias = torch.randn(5, dtype=torch.float64) if biased and weighted else None
    wide = F.layer_norm(F.pad(x, (0, 3)), [8], None, None, 1e-3)[..., :5]
    expected = wide if weight is None else wide * weight
    expected = expected if bias is None else expected + bias
    found = wide_layer_norm(x, 8, weight, bias, 1e-3)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", NORMS.values(), ids=NORMS)
def test_gradients_are_those_of_the_full_width(build):
    norm, x = random(build()).double(), features(torch.float64, 1.0)
    small, left = widened(norm), x[:, :LEFT].clone()
    x.requires_grad_()
    left.requires_grad_()
    norm(x)[:, :LEFT].square().sum().backward()
    small(left).square().sum().backward()
    torch.testing.assert_close(left.grad, x.grad[:, :LEFT])
    torch.testing.assert_close(small.weight.grad, norm.weight.grad[:LEFT])


@pytest.mark.parametrize("build", NORMS.values(), ids=NORMS)
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_it_is_scripted(build):
    small, x = widened(random(build())), features(torch.float32, 1.0)[:, :LEFT]
    torch.testing.assert_close(torch.jit.script(small)(x), small(x))


def test_it_prints_its_full_width():
    assert "full_width=64" in repr(widened(nn.LayerNorm(FULL)))
    assert "full_width=64" in repr(widened(nn.RMSNorm(FULL)))
    assert "full_width=64" in repr(widened(nn.GroupNorm(1, FULL)))


@pytest.mark.parametrize("affine", [True, False])
def test_one_group_is_normalised_over_its_positions_too(affine):
    x = torch.randn(3, 5, 4, 2, dtype=torch.float64) + 3
    weight, bias = torch.randn(2, 5, dtype=torch.float64) if affine else (None, None)
    expected = F.group_norm(F.pad(x, (0, 0, 0, 0, 0, 3)), 1, eps=1e-3)[:, :5]
    if affine:
        expected = expected * weight[:, None, None] + bias[:, None, None]
    torch.testing.assert_close(wide_group_norm(x, 8, weight, bias, 1e-3), expected)


class Stream(nn.Module):
    """A residual stream under norms of torch."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(5, 12), nn.Linear(12, 12)
        self.before, self.after = norm(12), norm(12)
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(self.after(x + self.inner(self.before(x))))


def zero(model: Stream, *channels: int) -> None:
    """Zero some channels of the stream."""
    with torch.no_grad():
        for tensor in (model.first.weight, model.first.bias, model.inner.weight, model.inner.bias):
            tensor[list(channels)] = 0
        for tensor in (*model.before.parameters(), *model.after.parameters()):
            tensor[list(channels)] = 0


@pytest.mark.parametrize(
    ("norm", "wide"), [(nn.LayerNorm, WideLayerNorm), (nn.RMSNorm, WideRMSNorm)]
)
def test_norms_of_a_compact_model_are_swapped_and_are_compacted_again(norm, wide):
    model, x = Stream(norm).double().eval(), torch.randn(4, 5, dtype=torch.float64)
    for removed, left in (((1, 2), 10), ((0, 9), 8)):
        zero(model, *removed)
        expected = model(x)
        report = compact(model, x, latency=False)
        assert report.refused == {}
        assert type(model.before) is type(model.after) is wide
        assert (model.after.full_width, model.after.normalized_shape) == (12, (left,))
        torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-12)
    assert type(model) is Stream


class Modulated(nn.Module):
    """A stream under a norm without weights, as those of diffusion transformers."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(5, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.norm = norm(12, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.inner(self.norm(x) * 1.5 + 0.2))


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_a_norm_without_weights_is_corrected_where_it_is_called(norm, tmp_path):
    model, x = Modulated(norm).eval(), torch.randn(4, 5)
    prune(model, x, sparsity=0.5, criterion=Magnitude(), of="units")
    expected = model(x)
    report = compact(model, x, latency=False)
    assert report.refused == {}
    assert model.first.out_features == 6
    torch.testing.assert_close(model(x), expected)
    save_compact(model, tmp_path / "small.safetensors")
    loaded = load_compact(Modulated(norm), tmp_path / "small.safetensors").eval()
    assert torch.equal(loaded(x), model(x))


def test_a_group_norm_of_one_group_is_swapped_too():
    layers = nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8), nn.ReLU(), nn.Conv2d(8, 2, 1)
    model = nn.Sequential(*layers).double().eval()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    for removed, left in (((1, 2), 6), ((0,), 5)):
        with torch.no_grad():
            for tensor in (*model[0].parameters(), *model[1].parameters()):
                tensor[list(removed)] = 0
        expected = model(x)
        assert compact(model, x, latency=False).refused == {}
        assert type(model[1]) is WideGroupNorm
        assert (model[1].full_width, model[1].num_channels) == (8, left)
        torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-12)


def test_a_recording_shows_them_as_one_operation():
    small = widened(nn.LayerNorm(FULL))
    names = [node.name for node in couple(small, torch.randn(2, LEFT)).traces.traces[0].graph]
    assert names == ["aten::layer_norm"]
    show_as_plain_norms(small)
    assert type(small) is nn.LayerNorm
