"""A branch that adds zeros is taken out of the code, and the model computes the same."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.helping import added
from support.nets import Net
from support.oracle import randomize
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision.models.convnext import CNBlock
from torchvision.models.efficientnet import FusedMBConv, FusedMBConvConfig, MBConv, MBConvConfig
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.regnet import ResBottleneckBlock
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.swin_transformer import SwinTransformerBlock, SwinTransformerBlockV2
from torchvision.models.vision_transformer import EncoderBlock

from lightning_prune.compaction import compact, load_compact, save_compact
from lightning_prune.compaction.branches.bypass import Bypass, dead_branches
from lightning_prune.compaction.full_size_states import FullSizeStates
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification.verification import Verification
from lightning_prune.coupling import couple
from lightning_prune.measure import count_macs
from lightning_prune.modules.inputs import ExampleInputs, output_tensors

IMAGE = torch.randn(2, 4, 6, 6)
LAST = torch.randn(2, 4, 4, 8)
SEQUENCE = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
X = torch.randn(2, 4)


def shortcut(channels: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(4, channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def twice(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(build(), build())


def encoder(norm_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 12, 0.1, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def decoder(norm_first: bool) -> nn.Module:
    layer = nn.TransformerDecoderLayer(8, 2, 12, 0.1, batch_first=True, norm_first=norm_first)
    return nn.TransformerDecoder(layer, 2)


@dataclass(frozen=True)
class Blocks:
    """A network of residual blocks.

    Args:
        build: makes it.
        inputs: what it takes.
        count: of its branches.
    """

    build: Callable[[], nn.Module]
    inputs: Any
    count: int


BLOCKS = {
    "basic": Blocks(
        lambda: nn.Sequential(BasicBlock(4, 4), BasicBlock(4, 6, 2, shortcut(6, 2))), IMAGE, 2
    ),
    "bottleneck": Blocks(
        lambda: nn.Sequential(Bottleneck(4, 2, 2, shortcut(8, 2)), Bottleneck(8, 2)), IMAGE, 2
    ),
    "regnet": Blocks(
        twice(lambda: ResBottleneckBlock(4, 4, 1, nn.BatchNorm2d, nn.ReLU, 2, 1.0, 0.5)), IMAGE, 2
    ),
    "mobilenet": Blocks(twice(lambda: InvertedResidual(4, 4, 1, 2)), IMAGE, 2),
    "efficientnet": Blocks(
        twice(lambda: MBConv(MBConvConfig(2, 3, 1, 8, 8, 1), 0.1, nn.BatchNorm2d)),
        torch.randn(2, 8, 4, 4),
        2,
    ),
    "fused": Blocks(
        twice(lambda: FusedMBConv(FusedMBConvConfig(2, 3, 1, 8, 8, 1), 0.1, nn.BatchNorm2d)),
        torch.randn(2, 8, 4, 4),
        2,
    ),
    "convnext": Blocks(twice(lambda: CNBlock(4, 1.0, 0.1)), IMAGE, 2),
    "swin": Blocks(twice(lambda: SwinTransformerBlock(8, 2, [2, 2], [1, 1])), LAST, 4),
    "swin 2": Blocks(twice(lambda: SwinTransformerBlockV2(8, 2, [2, 2], [0, 0])), LAST, 4),
    "vision transformer": Blocks(twice(lambda: EncoderBlock(2, 8, 12, 0.1, 0.1)), SEQUENCE, 4),
    "encoder, norm first": Blocks(lambda: encoder(True), SEQUENCE, 4),
    "encoder, norm after": Blocks(lambda: encoder(False), SEQUENCE, 4),
    "decoder, norm first": Blocks(lambda: decoder(True), (SEQUENCE, SEQUENCE[:, :3]), 6),
    "decoder, norm after": Blocks(lambda: decoder(False), (SEQUENCE, SEQUENCE[:, :3]), 6),
}

blocks = pytest.mark.parametrize("example", BLOCKS.values(), ids=BLOCKS)


def zero(model: nn.Module, *names: str) -> None:
    """Zero every parameter of branches."""
    for name in names:
        with torch.no_grad():
            model.get_parameter(name).zero_()


def without(model: nn.Module, inputs: Any, chosen: slice) -> tuple[nn.Module, dict[str, list[str]]]:
    """Return the model with random weights, and zeros in some of its branches."""
    randomize(model).eval()
    branches = {b.name: list(b.parameters) for b in couple(model, inputs).branches[chosen]}
    for parameters in branches.values():
        zero(model, *parameters)
    return model, branches


def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    with torch.no_grad():
        return output_tensors(ExampleInputs.of(inputs)(model.eval()))


def assert_same(masked: nn.Module, small: nn.Module, inputs: Any, tolerance: float = 1e-6) -> None:
    for expected, found in zip(outputs(masked, inputs), outputs(small, inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def assert_trains(model: nn.Module, inputs: Any, unused: tuple[str, ...] = ()) -> None:
    """Assert that a step reaches all parameters but those that are empty."""
    model.train()
    found = output_tensors(ExampleInputs.of(inputs)(model))
    sum(t.square().sum() for t in found if t.requires_grad).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == [n for n, p in model.named_parameters() if not p.numel() or n in unused]
    model.zero_grad()


def assert_taken_out(
    masked: nn.Module, small: nn.Module, report: CompactionReport, branches: dict[str, list[str]]
) -> None:
    """Assert what the report and the parameters tell."""
    assert report.refused == {}
    gone = {group.name for group in report.groups if group.removed}
    assert set(branches) <= gone
    assert report.macs_after < report.macs_before
    before, after = dict(masked.named_parameters()), dict(small.named_parameters())
    assert list(small.state_dict()) == list(masked.state_dict())
    empty = {name for names in branches.values() for name in names}
    for name in empty:
        assert after[name].shape == (0, *before[name].shape[1:])
        assert not after[name].requires_grad
        assert after[name].grad is None
    assert {name for name, p in after.items() if not p.numel()} == empty
    assert report.params_before - report.params_after >= sum(before[n].numel() for n in empty)


@blocks
@pytest.mark.parametrize("chosen", [slice(0, None, 2), slice(None)], ids=["every second", "all"])
def test_branches_of_zeros_are_taken_out(example, chosen):
    masked, branches = without(example.build(), example.inputs, chosen)
    assert len(branches) == len(range(example.count)[chosen])
    small = copy.deepcopy(masked)
    report = compact(small, example.inputs, latency=False)
    assert_taken_out(masked, small, report, branches)
    assert_same(masked, small, example.inputs)
    if chosen == slice(0, None, 2):
        assert_trains(small, example.inputs)


def test_a_loss_goes_through_the_shortcut_as_before():
    example = BLOCKS["basic"]
    masked, _ = without(example.build(), IMAGE, slice(1))
    small = copy.deepcopy(masked)
    compact(small, IMAGE, latency=False)
    given = [IMAGE.clone().requires_grad_() for _ in range(2)]
    for model, x in zip((masked, small), given, strict=True):
        model.train()(x).square().sum().backward()
    torch.testing.assert_close(given[0].grad, given[1].grad)
    torch.testing.assert_close(masked[1].conv1.weight.grad, small[1].conv1.weight.grad)


SIZES = [pytest.param(torch.randn(3, 4, 8, 8), id="larger"), pytest.param(IMAGE[:1], id="smaller")]


@pytest.mark.parametrize("x", SIZES)
def test_other_inputs_than_the_examples(x):
    masked, _ = without(BLOCKS["bottleneck"].build(), IMAGE, slice(1))
    small = copy.deepcopy(masked)
    compact(small, IMAGE, latency=False)
    assert_same(masked, small, x)


SOME = {name: BLOCKS[name] for name in ("basic", "swin", "encoder, norm first")}
some = pytest.mark.parametrize("example", SOME.values(), ids=SOME)


def compacted(example: Blocks) -> nn.Module:
    model, _ = without(example.build(), example.inputs, slice(0, None, 2))
    compact(model, example.inputs, latency=False)
    return model


@some
@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_compute_the_same(example, again):
    small = compacted(example)
    assert_same(small, again(small), example.inputs, tolerance=0)


@some
def test_it_is_exported_and_compiled(example):
    small = compacted(example)
    torch._dynamo.reset()  # of what earlier tests have compiled
    for name, made in {
        "exported": torch.export.export(small, (example.inputs,)).module(),
        "compiled": torch.compile(small, backend="eager"),
    }.items():
        with torch.no_grad():
            found = made(example.inputs)
        torch.testing.assert_close(found, *outputs(small, example.inputs), msg=name)


@some
def test_it_is_loaded_into_a_fresh_model(example, tmp_path):
    small = compacted(example)
    save_compact(small, tmp_path / "small.safetensors")
    loaded = load_compact(example.build(), tmp_path / "small.safetensors")
    assert_same(small, loaded, example.inputs, tolerance=0)
    shapes = [(n, p.shape, p.requires_grad) for n, p in small.named_parameters()]
    assert [(n, p.shape, p.requires_grad) for n, p in loaded.named_parameters()] == shapes
    assert_trains(loaded, example.inputs)


@some
def test_a_second_compaction_finds_nothing_more(example):
    small = compacted(example)
    before = copy.deepcopy(small)
    report = compact(small, example.inputs, latency=False)
    assert (report.removed, report.params_before) == (0, report.params_after)
    assert_same(before, small, example.inputs, tolerance=0)


@some
def test_another_branch_goes_later(example):
    small = compacted(example)
    masked, branches = copy.deepcopy(small), couple(small, example.inputs).branches
    assert len(branches) == example.count // 2
    for model in (masked, small):
        zero(model, *branches[-1].parameters)
    report = compact(small, example.inputs, latency=False)
    assert branches[-1].name in {group.name for group in report.groups if group.removed}
    assert all(not small.get_parameter(name).numel() for name in branches[-1].parameters)
    assert_same(masked, small, example.inputs)


def test_the_state_of_the_full_size_is_loaded():
    example = BLOCKS["basic"]
    masked, _ = without(example.build(), IMAGE, slice(1))
    small = copy.deepcopy(masked)
    states = FullSizeStates(small, [ExampleInputs.of(IMAGE)])
    compact(small, IMAGE, latency=False)
    states.attach(small)
    other, _ = without(copy.deepcopy(masked), IMAGE, slice(1))
    zero(other, "1.bn1.bias")
    small.load_state_dict(other.state_dict())
    assert not small[1].bn1.bias.any()
    assert_same(other, small, IMAGE)


def test_zeros_of_the_last_norm_are_enough():
    model = randomize(nn.Sequential(BasicBlock(4, 4), BasicBlock(4, 4))).eval()
    zero(model, "1.bn2.weight", "1.bn2.bias")
    masked = copy.deepcopy(model)
    report = compact(model, IMAGE, latency=False)
    assert {group.name: group.removed for group in report.groups}["1"] == 1
    assert all(not p.numel() for p in model[1].parameters())
    assert all(not b.numel() for b in model[1].buffers() if b.dim())
    assert all(p.numel() for p in model[0].parameters())
    assert_same(masked, model, IMAGE)


def test_a_weight_of_zeros_behind_which_a_bias_is_left_is_not():
    model = randomize(BasicBlock(4, 4)).eval()
    zero(model, "bn2.weight")
    report = compact(model, IMAGE, latency=False)
    assert "" not in {group.name for group in report.groups if group.removed}
    assert all(p.numel() for p in model.parameters())


class Rezero(nn.Module):
    """Starts as the identity (Bachlechner et al., 2020, arXiv:2003.04887)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.b(self.a(x))


def test_a_single_number_stays_and_is_no_longer_trained():
    model = nn.Sequential(nn.Linear(4, 4), Rezero())
    masked = copy.deepcopy(model)
    report = compact(model, X, latency=False)
    assert report.refused == {}
    assert model[1].scale.shape == ()
    assert not any(p.requires_grad for p in model[1].parameters())
    assert_same(masked, model, X)
    assert_trains(model, X, unused=("1.scale",))


class Residual(nn.Module):
    """One branch around which the tables write what they like."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.f = nn.Linear(4, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))


class OnTheLeft(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.f(self.norm(x)).relu() + x


class InPlace(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out = self.norm(x)
        out = self.f(out)
        out += x
        return out.relu_() + x


class OntoTheShortcut(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x += self.f(self.norm(x))
        return x


class Methods(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x.add(self.f(self.norm(x)))
        return torch.add(x, self.layers[1](self.layers[0](x)))


class Keywords(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.add(x, other=self.f(self.norm(x)))
        return torch.add(other=x, input=self.layers[0](x)).add(other=self.layers[1](x))


class WrittenLater(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = x + self.f(self.norm(x))
        x[:, 0] = 7
        return y


class WrittenThroughAView(Residual):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        y = x + self.f(self.norm(x))
        y[:, 0].add_(7)
        return x, y


class InAFunction(Residual):
    def forward(self, x: Tensor) -> Tensor:
        def inner(x: Tensor) -> Tensor:
            y = self.f(self.norm(x))
            return x + y

        return inner(self.stem(x))


class InAHelper(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return added(x, lambda x: self.f(self.norm(x)))


class InAnotherMethod(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x) + self.of(self.stem(x)) if False else self.residual(self.stem(x))

    def residual(self, x: Tensor) -> Tensor:
        return x + self.of(x)

    def of(self, x: Tensor) -> Tensor:
        return self.f(self.norm(x))


class ByMode(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.training:
            return self.f(self.norm(x)) + x
        y = self.f(self.norm(x))
        return x + y


class ByLoop(Residual):
    """The loop stays, with layers that do nothing."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(x)
        for layer in self.layers:
            y = layer(y)
        return x + y


class ByContext(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        with torch.autocast("cpu", enabled=False):
            y = self.f(self.norm(x))
        return x + y


class WrittenInside(Residual):
    """What the norm gives back is the shortcut, into which nothing may be written."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        with torch.autocast("cpu", enabled=False):
            y = self.layers[0](self.norm(x))
            y += self.layers[1](x)
        return x + y


class Widened(Residual):
    """What stays of the code takes apart what a layer that does nothing returns."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        with torch.autocast("cpu", enabled=False):
            a, b, c = self.wide(self.norm(x)).view(len(x), 3, 4).unbind(1)
            y = self.f(a * b + c)
        return x + y


class Repeated(Residual):
    """The same branch again and again."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = x + self.f(self.norm(x))
        return x


class Attending(nn.Module):
    """Returns more than what is added."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor, bias: Tensor | None = None, size: int = 4) -> tuple[Any, ...]:
        y = self.a(x)
        return y, bias, size, {"weights": y.softmax(-1)}


class Tuples(nn.Module):
    """What the branch's module returns besides is passed on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.f = Attending()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y, bias, size, extra = self.f(self.norm(x), None, x.shape[-1])
        assert bias is None
        assert list(extra) == ["weights"]
        return (x + y) * size


class Casting(nn.Module):
    """A norm that computes in float32, whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.float32)
        return self.weight * x * x.square().mean(-1, keepdim=True).add(1e-6).rsqrt()


class TuplesOfACast(Tuples):
    def __init__(self) -> None:
        super().__init__()
        self.norm = Casting()


FORMS: list[type[nn.Module]] = [
    OnTheLeft,
    InPlace,
    OntoTheShortcut,
    Methods,
    Keywords,
    WrittenLater,
    WrittenThroughAView,
    InAFunction,
    InAHelper,
    InAnotherMethod,
    ByMode,
    ByLoop,
    ByContext,
    WrittenInside,
    Widened,
    Repeated,
    Tuples,
    TuplesOfACast,
]


@pytest.mark.parametrize("kind", FORMS)
def test_ways_to_write_a_branch(kind):
    masked, branches = without(kind(), X, slice(None))
    assert branches
    small = copy.deepcopy(masked)
    report = compact(small, X, latency=False)
    assert_taken_out(masked, small, report, branches)
    assert_same(masked, small, X)
    small.train()(X)[0].sum().backward()
    assert small.stem.weight.grad is not None


class SharedNorm(nn.Module):
    """A layer whose attention and perceptron read one norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        return x + self.a(normed) + self.b(normed)


def test_what_two_branches_share_stays_for_the_other():
    masked, branches = without(SharedNorm(), X, slice(1))
    assert branches == {"a": ["a.weight", "a.bias"]}
    small = copy.deepcopy(masked)
    report = compact(small, X, latency=False)
    assert_taken_out(masked, small, report, branches)
    assert_same(masked, small, X)
    assert_trains(small, X)


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for f in self.blocks:
            x = x + f(x)
        return x


class LoopOverPairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(2))
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x)).relu()
        return x


class Counted(nn.Module):
    """Returns a number that its caller needs."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, float]:
        return self.a(x), 0.5


class Numbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = Counted()

    def forward(self, x: Tensor) -> Tensor:
        y, factor = self.f(x)
        return (x + y) * factor


class Starred(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return torch.add(*[x, self.f(self.norm(x))])


class Operator(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return sum([self.f(self.norm(x))], x)


class Attribute(Residual):
    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.stem(x)
        self.kept += self.f(self.norm(self.kept))
        return self.kept


class Functional(Residual):
    """The loop stays, and no module could do nothing in it."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for weight in [self.f.weight]:
            y = F.linear(y, weight)
        return x + y


class Remembering(nn.Module):
    """Tells its owner, where nobody sees it, by what to multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        self.factor = 3.0
        return self.a(x)


class Told(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = Remembering()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.f(x)
        return x * self.f.factor


scope: dict[str, Any] = {"nn": nn}
exec(  # a class whose source no file holds
    "class Unreadable(nn.Module):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        self.f = nn.Linear(4, 4)\n"
    "    def forward(self, x):\n"
    "        return x + self.f(x)\n",
    scope,
)

# The sum stays in the source of these; the last module of the branch adds a zero.
SILENT: dict[str, Callable[[], nn.Module]] = {
    "a loop": Loop,
    "a loop over several modules": LoopOverPairs,
    "no source": scope["Unreadable"],
    "a lambda": lambda: Net(lambda m, x: x + m.f(x), f=nn.Linear(4, 4)),
    "a starred argument": Starred,
    "an attribute": Attribute,
    "a sum of a list": Operator,
}


@pytest.mark.parametrize("build", SILENT.values(), ids=SILENT)
def test_where_the_sum_stays_the_branch_adds_a_zero(build):
    model, branches = without(build(), X, slice(1))
    masked = copy.deepcopy(model)
    macs = count_macs(model, X)
    report = compact(model, X, latency=False)
    assert report.refused == {}
    [names] = branches.values()
    assert all(not model.get_parameter(name).numel() for name in names)
    assert count_macs(model, X) < macs
    assert_same(masked, model, X)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a number": (Numbers, "a module of it returns float, which may be needed"),
    "a weight of a loop": (Functional, "f.weight would be computed with all the same"),
    "what nobody sees": (Told, "outputs differ by"),
}


def state_of(model: nn.Module) -> list[Any]:
    """Return everything that a compaction could change."""
    tensors = model.state_dict(keep_vars=True).items()
    return [
        [(name, id(t), t.data_ptr(), t.shape, t.requires_grad, id(t.grad)) for name, t in tensors],
        [
            (type(m), {k: v for k, v in vars(m).items() if not k.startswith("_")})
            for m in model.modules()
        ],
    ]


@pytest.mark.parametrize(("build", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_taken_out_is_named_and_stays(build, reason):
    model, branches = without(build(), X, slice(1))
    [name] = branches
    inputs = [ExampleInputs.of(X)]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = state_of(model)
    branches = dead_branches(model, couple(model, X).branches)
    bypass = Bypass(model, Surgery(model), inputs, branches)
    bypass.attempt(Verification(model, inputs))
    assert list(bypass.refused) == [name]
    assert re.search(reason, bypass.refused[name])
    assert state_of(model) == before
    assert [(count.units, count.removed) for count in bypass.counts] == [(1, 0)]


def test_what_only_served_branches_that_went_is_empty_too():
    model, _ = without(SharedNorm(), X, slice(None))
    model.norm.weight.data.fill_(0.5)
    masked = copy.deepcopy(model)
    compact(model, X, latency=False)
    assert [p.numel() for p in model.parameters()] == [0] * 6
    assert not any(p.requires_grad for p in model.parameters())
    assert torch.equal(model(X), X)
    assert torch.equal(masked(X), X)


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_weights_that_are_computed_become_empty_too(norm):
    model = Net(lambda m, x: x + m.g(m.f(x).relu()), f=norm(nn.Linear(4, 4)), g=nn.Linear(4, 4))
    with torch.no_grad():
        model.g.weight.zero_()
        model.g.bias.zero_()
    assert compact(model, X, latency=False).refused == {}
    assert [p.numel() for p in model.parameters()] == [0] * len(list(model.parameters()))
    assert torch.equal(model(X), X)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.first = OnTheLeft()
        self.told = Told()
        self.last = OnTheLeft()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.told(self.first(self.stem(x))))


def test_a_branch_that_stays_does_not_keep_others():
    model, branches = without(Mixed(), X, slice(None))
    assert list(branches) == ["first.f", "told.f.a", "last.f"]
    masked = copy.deepcopy(model)
    report = compact(model, X, latency=False)
    assert list(report.refused) == ["told.f.a"]
    assert "left as it was: told.f.a: outputs differ by" in str(report)
    removed = {group.name: group.removed for group in report.groups}
    assert [removed[name] for name in branches] == [1, 0, 1]
    assert type(model.told) is Told
    assert model.told.f.a.weight.numel()
    assert not model.first.f.weight.numel()
    assert not model.last.f.weight.numel()
    assert_same(masked, model, X)


def test_an_error_on_the_way_leaves_everything_as_it_was(monkeypatch):
    model, _ = without(Mixed(), X, slice(None))
    before = state_of(model)
    attempt = Bypass.attempt

    def interrupted(bypass: Bypass, verification: Verification) -> None:
        attempt(bypass, verification)
        assert len(bypass.accepted) == 2
        assert state_of(model) != before
        raise KeyboardInterrupt

    monkeypatch.setattr(Bypass, "attempt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compact(model, X, latency=False)
    assert state_of(model) == before


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("chosen", [slice(0, 1), slice(1, 2)], ids=["attention", "perceptron"])
def test_the_fused_layer_of_torch_is_not_misled(norm_first, chosen):
    """Torch runs a whole layer at once in eval mode, with the parameters that it finds there."""
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=norm_first)
    masked, branches = without(layer, SEQUENCE, chosen)
    small = copy.deepcopy(masked)
    report = compact(small, SEQUENCE, latency=False)
    assert_taken_out(masked, small, report, branches)
    assert torch.backends.mha.get_fastpath_enabled()
    with torch.inference_mode():
        torch.testing.assert_close(small(SEQUENCE), masked(SEQUENCE), rtol=1e-5, atol=1e-6)
    assert_same(masked, small, SEQUENCE[:, :2], 1e-5)
