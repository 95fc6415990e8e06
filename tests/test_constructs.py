"""Single constructs on which pruning tools stumble, end to end.

Half of the units of every group are zeroed; `compact` must remove them all, exactly, and leave the
names of the state dict as they were. Sizes stand in the source as numbers and in attributes.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.oracle import half_of_every_group, randomize, zeroed
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import lightning_prune as lp
from lightning_prune.compaction import compact, load_compact, save_compact
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


class PaddedShortcut(Shortcut):
    """A shortcut whose new channels are counted in the forward pass: that of CIFAR's ResNets."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.wide(x.relu())
        before = x.shape[1] // 2
        after = y.shape[1] - x.shape[1] - before
        return self.last(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, after)))


class Checked(nn.Module):
    """Layers that hold the width that they are given against their own."""

    def __init__(self, *, raises: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
        self.channels = 8
        self.raises = raises

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        if self.raises:
            _, c, _, _ = x.shape
            if c != self.channels:
                raise ValueError(f"expected {self.channels} channels, got {c}")
        else:
            assert x.shape[1] == self.channels
        return self.last(x)


class EmptyPart(nn.Module):
    """Takes all features of a head where others would pass some by, as a full rotary embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 12), nn.Linear(12, 3)
        self.heads, self.turned = 3, 4

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).view(*x.shape[:-1], self.heads, -1)
        turned, passed = y[..., : self.turned], y[..., self.turned :]
        return self.last(torch.cat([turned.tanh(), passed], -1).flatten(-2))


class Sliced(nn.Module):
    """One expression cuts all parts."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.parts = nn.ModuleList([nn.Linear(4, 3) for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        cut = [y[..., 4 * i : 4 * (i + 1)] for i in range(4)]
        return sum(part(one) for part, one in zip(self.parts, cut, strict=True))  # type: ignore


class Hierarchy(nn.Module):
    """A loop over parts, each of which is given what the last one made: Res2Net."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 2, 1)
        self.parts = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)])
        self.width = 4

    def forward(self, x: Tensor) -> Tensor:
        y, out = self.first(x).relu(), []
        for i, part in enumerate(self.parts):
            cut = y[:, i * self.width : (i + 1) * self.width]
            out.append(part(cut + out[-1] if out else cut))
        return self.last(torch.cat([*out, y[:, 3 * self.width :]], 1))


class PerHead(nn.Module):
    """One module without parameters attends for every head, each with projections of its own."""

    class Attend(nn.Module):
        def __init__(self, *, as_tensor: bool) -> None:
            super().__init__()
            self.as_tensor = as_tensor

        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            scores = q @ k.transpose(1, 2)
            if self.as_tensor:
                scores = scores / torch.as_tensor(k.size(-1), dtype=q.dtype).sqrt()
            else:
                scores = scores / k.size(-1) ** 0.5
            return scores.softmax(-1) @ v

    def __init__(self, *, as_tensor: bool) -> None:
        super().__init__()
        self.queries = nn.ModuleList([nn.Linear(6, 8) for _ in range(3)])
        self.keys = nn.ModuleList([nn.Linear(6, 8) for _ in range(3)])
        self.values = nn.Linear(6, 8)
        self.attend = PerHead.Attend(as_tensor=as_tensor)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        v = self.values(x)
        pairs = zip(self.queries, self.keys, strict=True)
        return self.last(sum(self.attend(q(x), k(x), v) for q, k in pairs))


class Modulated(nn.Module):
    """Convolutions whose weights a style scales, and norms again: those of StyleGAN 2."""

    class Convolution(nn.Module):
        def __init__(self, read: int, written: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(written, read, 3, 3))
            self.style = nn.Linear(4, read)

        def forward(self, x: Tensor, code: Tensor) -> Tensor:
            weight = self.weight * self.style(code).view(1, -1, 1, 1)
            norm = torch.rsqrt(weight.pow(2).sum((1, 2, 3), keepdim=True) + 1e-8)
            return F.conv2d(x, weight * norm, padding=1)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.parts = nn.ModuleList([Modulated.Convolution(8, 12), Modulated.Convolution(12, 2)])
        self.code = nn.Parameter(torch.randn(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for part in self.parts:
            x = part(x.relu(), self.code.tanh())
        return x


class ModulatedBatch(nn.Module):
    """The images of a batch, each with weights of its own, are the groups of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.weight = nn.Parameter(torch.randn(6, 8, 3, 3))
        self.style = nn.Linear(8, 8)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        batch, read, height, width = x.shape
        weight = self.weight * self.style(x.mean((2, 3)))[:, None, :, None, None]
        weight = weight * torch.rsqrt(weight.pow(2).sum((2, 3, 4), keepdim=True) + 1e-8)
        weight = weight.flatten(0, 1)
        x = x.reshape(1, batch * read, height, width)
        x = F.conv2d(x, weight, padding=1, groups=batch)
        return self.last(x.reshape(batch, -1, height, width).relu())


class Processor:
    """Attends for a module that calls it: the maths of diffusers' attention is in such objects."""

    def __call__(self, module: nn.Module, x: Tensor) -> Tensor:
        heads = module.heads
        parts = (module.q, module.k, module.v)
        width = module.q.out_features // heads
        q, k, v = (part(x).view(*x.shape[:2], heads, width).transpose(1, 2) for part in parts)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def attend(self, module: nn.Module, x: Tensor) -> Tensor:
        return self(module, x)


def attend(module: nn.Module, x: Tensor) -> Tensor:
    return Processor.__call__(None, module, x)  # type: ignore[arg-type]


class Processed(nn.Module):
    def __init__(self, processor: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.heads, self.processor = 4, processor
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.processor(self, self.first(x)))


class Experts(nn.Module):
    """Two experts in one call, whose kernel takes rows of multiples of 16 bytes only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
        self.up = nn.Parameter(torch.randn(2, 16, 24))
        self.down = nn.Parameter(torch.randn(2, 24, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).flatten(0, 1)
        ends = torch.tensor([x.shape[0] // 2, x.shape[0]], dtype=torch.int32)
        x = F.grouped_mm(F.grouped_mm(x, self.up, offs=ends).relu(), self.down, offs=ends)
        return self.last(x)


def sinusoids(length: int, width: int) -> Tensor:
    rates = 100.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


class Positions(nn.Module):
    """Fixed positions that are added to a stream, whose width a norm knows."""

    def __init__(self, kind: str, normed: bool = True) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
        self.norm = nn.LayerNorm(16) if normed else nn.Identity()
        table = sinusoids(9, 16)
        if kind in {"buffer", "scaled"}:
            self.register_buffer("table", table)
        if kind == "not_saved":
            self.register_buffer("table", table, persistent=False)
        if kind == "frozen":
            self.table = nn.Parameter(table, requires_grad=False)
        if kind == "scaled":
            self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        table = sinusoids(x.shape[1], 16) if self.kind == "computed" else self.table[: x.shape[1]]
        if self.kind == "scaled":
            table = self.scale * table
        return self.last(self.norm(y + table.to(y)))


class WrittenNorm(nn.Module):
    """A norm over channels that is written out."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)
        self.weight, self.bias = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        if self.kind == "pow":
            variance = (x - mean).pow(2).mean(1, keepdim=True)
        if self.kind == "flat":  # positions and channels in one dimension, of any length
            flat = x.flatten(1)
            mean, centred = flat.mean(1, keepdim=True), flat - flat.mean(1, keepdim=True)
            variance = centred.pow(2).mean(1, keepdim=True)[..., None, None]
            centred = centred.view_as(x)
        if self.kind == "operator":
            variance = (centred**2).mean(1, keepdim=True)
        if self.kind == "product":
            variance = torch.mean(centred * centred, 1, keepdim=True)
        if self.kind == "square":
            variance = torch.mean(torch.square(centred), 1, keepdim=True)
        if self.kind == "var":
            variance = x.var(1, keepdim=True, unbiased=False)
        if self.kind == "var_mean":
            variance = torch.var_mean(x, dim=1, keepdim=True)[0]
        y = centred * torch.rsqrt(variance + 1e-5)
        return self.last((y * self.weight[:, None, None] + self.bias[:, None, None]).relu())


class SpatialAttention(nn.Module):
    """A gate from the mean and the maximum over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)
        self.gate = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        largest, _ = x.max(dim=1, keepdim=True)
        smallest = torch.amin(x, 1, keepdim=True)
        spread = torch.std(x, (1, 2, 3), keepdim=True) + x.logsumexp(1, keepdim=True)
        both = torch.cat([x.mean(1, keepdim=True), largest, smallest * spread], 1)
        return self.last(x * self.gate(both).sigmoid())


class Standardised(nn.Module):
    """A convolution whose weight is standardised in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.middle.weight
        mean = weight.mean((1, 2, 3), keepdim=True)
        std = weight.std((1, 2, 3), keepdim=True)
        return self.last(F.conv2d(self.first(x), (weight - mean) / (std + 1e-5), self.middle.bias))


class Rotary(nn.Module):
    """One head whose features are rotated by computed angles."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 8) for _ in range(3))
        self.last = nn.Linear(8, 3)

    def rotated(self, x: Tensor) -> Tensor:
        angles = torch.arange(x.shape[1]).to(x)[:, None] * 10.0 ** -torch.arange(4).to(x)
        cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.rotated(self.q(x)), self.rotated(self.k(x)), self.v(x)
        return self.last((q @ k.transpose(1, 2) * 8**-0.5).softmax(-1) @ v)


class ComputedOperand(nn.Module):
    """A value that no weight writes meets a stream, in every form of a call."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, table = self.first(x), sinusoids(x.shape[1], 16).to(x)
        match self.form:
            case "operator":
                y = table + y
            case "in_place":
                y = y * 1
                y += table
            case "function":
                y = torch.add(y, table, alpha=2)
            case "keywords":
                y = torch.where(input=y, condition=y > 0, other=table)
            case "method":
                y = y.mul(table)
            case "method_of_the_other":
                y = table.sub(y)
        return self.last(y)


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
    "modulated": (Modulated, IMAGES),
    "modulated_batch": (ModulatedBatch, IMAGES),
    "modulated_large_batch": (ModulatedBatch, IMAGES.repeat(8, 1, 1, 1)),
    "object_in_an_attribute": (lambda: Processed(Processor()), TOKENS),
    "method_in_an_attribute": (lambda: Processed(Processor().__call__), TOKENS),
    "function_in_an_attribute": (lambda: Processed(attend), TOKENS),
    "padded_shortcut": (PaddedShortcut, IMAGES),
    "width_asserted": (lambda: Checked(raises=False), IMAGES),
    "width_compared": (lambda: Checked(raises=True), IMAGES),
    "empty_part": (EmptyPart, TOKENS),
    "sliced_in_a_comprehension": (Sliced, TOKENS),
    "sliced_in_a_loop": (Hierarchy, IMAGES),
    "number_per_head": (lambda: PerHead(as_tensor=False), TOKENS),
    "tensor_per_head": (lambda: PerHead(as_tensor=True), TOKENS),
    "positions_in_a_buffer": (lambda: Positions("buffer"), TOKENS),
    "positions_times_a_number": (lambda: Positions("scaled"), TOKENS),
    "positions_that_are_not_saved": (lambda: Positions("not_saved"), TOKENS),
    "frozen_positions": (lambda: Positions("frozen"), TOKENS),
    "computed_positions": (lambda: Positions("computed", normed=False), TOKENS),
    "norm_written_with_pow": (lambda: WrittenNorm("pow"), IMAGES),
    "norm_of_channels_and_positions": (lambda: WrittenNorm("flat"), IMAGES),
    "norm_written_with_an_operator": (lambda: WrittenNorm("operator"), IMAGES),
    "norm_written_with_a_product": (lambda: WrittenNorm("product"), IMAGES),
    "norm_written_with_square": (lambda: WrittenNorm("square"), IMAGES),
    "norm_written_with_var": (lambda: WrittenNorm("var"), IMAGES),
    "norm_written_with_var_mean": (lambda: WrittenNorm("var_mean"), IMAGES),
    "spatial_attention": (SpatialAttention, IMAGES),
    "standardised_weight": (Standardised, IMAGES),
    "rotary_features": (Rotary, TOKENS),
    **{
        f"computed_operand_of_{form}": (lambda form=form: ComputedOperand(form), TOKENS)
        for form in "operator in_place function keywords method method_of_the_other".split()
    },
}


@pytest.mark.filterwarnings("ignore:.torch.nn.utils.*_norm. is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("build", "inputs"), ROWS.values(), ids=ROWS)
def test_half_of_every_group_goes(
    build: Callable[[], nn.Module], inputs: Tensor, tmp_path: Path
) -> None:
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
    save_compact(model, tmp_path / "small.safetensors")
    loaded = load_compact(build(), tmp_path / "small.safetensors")
    assert torch.equal(loaded.eval()(inputs), model.eval()(inputs))


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="torch has it since 2.10")
def test_of_experts_multiples_go_that_their_kernel_takes() -> None:
    model = Experts().eval()
    assert sorted(group.granule for group in couple(model, TOKENS).groups) == [4, 4, 4]
    report = lp.prune(
        model,
        TOKENS,
        sparsity=0.4,
        criterion=lp.Random(),
        allocation=lp.Uniform(),
        of="units",
    )
    assert all(group.kept % 4 == 0 for group in report.groups)
    compacted = compact(model, TOKENS, latency=False)
    assert compacted.refused == {}
    assert compacted.params_after == report.params_after
    # Of dead units that no pruning has chosen so, some stay.
    other = Experts().eval()
    with torch.no_grad():
        other.first.weight[:5], other.first.bias[:5] = 0, 0
    (removed,) = {group.removed for group in compact(other, TOKENS, latency=False).groups} - {0}
    assert removed == 4
