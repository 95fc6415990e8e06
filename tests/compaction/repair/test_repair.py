"""Sizes and numbers in attributes and in source follow the tensors, whatever way they are written.

Every net has layers of 5, 8 and 3 features; half of the 8 go. Between the two layers stands the
construct; what it computes must stay what it was, for batches of every size, also in train mode.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from support import helping
from support.helping import scaled
from support.oracle import assert_equal, half_of_every_group, halved, zeroed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_prune.compaction import compact
from lightning_prune.compaction.rewriting.rewrite import edits_of
from lightning_prune.coupling import couple
from lightning_prune.errors import VerificationError


class Base(nn.Module):
    shape: ClassVar[tuple[int, ...]] = (4, 6, 5)

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(5, 8)
        self.b = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.mid(self.a(x)))

    def mid(self, x: Tensor) -> Tensor:
        raise NotImplementedError


REPAIRED: list[type[Base]] = []
"""Nets of which every group goes by half."""


def repaired(kind: type[Base]) -> type[Base]:
    REPAIRED.append(kind)
    return kind


# Sizes.


@repaired
class LocalVariables(Base):
    def mid(self, x: Tensor) -> Tensor:
        B, N, C = x.shape  # noqa: N806 as everybody writes it
        C = 8  # noqa: N806
        return x.reshape(B * N, C).reshape(B, N, C)


@repaired
class HelperOfTheFile(Base):
    def mid(self, x: Tensor) -> Tensor:
        return rows(x, 8)


def rows(x: Tensor, width: int) -> Tensor:
    return x.reshape(-1, width).view(x.shape[0], -1, width)


@repaired
class HelperOfAnotherFile(Base):
    def mid(self, x: Tensor) -> Tensor:
        return helping.folded(x) + helping.folded(x, width=8)


class Folding(Base):
    def mid(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, 8)


@repaired
class Super(Folding):
    def mid(self, x: Tensor) -> Tensor:
        return super().mid(x).relu()


@repaired
class MethodOfTheModule(Base):
    def mid(self, x: Tensor) -> Tensor:
        return self.fold(x, 8)

    def fold(self, x: Tensor, width: int) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, width)


@repaired
class StaticMethod(Base):
    def mid(self, x: Tensor) -> Tensor:
        return self.fold(x) + StaticMethod.fold(x)

    @staticmethod
    def fold(x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, 8)


@repaired
class PrivateNames(Base):
    def __init__(self) -> None:
        super().__init__()
        self.__width = 8

    def mid(self, x: Tensor) -> Tensor:
        __local = self.__fold(x)
        return __local * self.__width**-0.5

    def __fold(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, self.__width)


@repaired
class LambdasAndComprehensions(Base):
    def mid(self, x: Tensor) -> Tensor:
        fold = lambda t: t.reshape(-1, 8)  # noqa: E731
        parts = [fold(v) + v.reshape(-1, 8) for v in (x, 2 * x)]
        more = list(map(lambda t: t.reshape(-1, 8), [x]))  # noqa: C417
        return sum([*parts, *more]).reshape(x.shape[0], -1, 8)


@repaired
class LambdaForAHelper(Base):
    def mid(self, x: Tensor) -> Tensor:
        return helping.applied(lambda t: t.flatten(1).reshape(-1, 6, 8), x)


@repaired
class InnerFunction(Base):
    def mid(self, x: Tensor) -> Tensor:
        def fold(t: Tensor) -> Tensor:
            return t.flatten(1).view(t.shape[0], -1, 8)

        return checkpoint(fold, x, use_reentrant=False)


@repaired
class MethodUnderCheckpoint(Base):
    def mid(self, x: Tensor) -> Tensor:
        return checkpoint(self.fold, x, use_reentrant=False)

    def fold(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, 8)


@repaired
class TuplesAndStars(Base):
    def mid(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], 6, 8)
        x = x.flatten().reshape(*shape).flatten(1).reshape(shape)
        return x.flatten(1).view(-1, *shape[1:]).flatten(1).unflatten(1, shape[1:])


@repaired
class TupleAttribute(Base):
    def __init__(self) -> None:
        super().__init__()
        self.tail = (6, 8)

    def mid(self, x: Tensor) -> Tensor:
        x = x.flatten(1).view(-1, *self.tail)
        return x.flatten(1).view(x.shape[0], self.tail[0], self.tail[1])


@repaired
class ClassAttribute(Base):
    width = 8

    def mid(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, self.width)


@repaired
class Property(Base):
    @property
    def width(self) -> int:
        return 8

    def mid(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, self.width)


@repaired
class SizeInAProperty(Base):
    def mid(self, x: Tensor) -> Tensor:
        self.x = x
        return self.rows

    @property
    def rows(self) -> Tensor:
        return self.x.flatten(1).view(self.x.shape[0], -1, 8)


@repaired
class AttributeForSizeAndScale(Base):
    def __init__(self) -> None:
        super().__init__()
        self.width = 8

    def mid(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, self.width) * self.width**-0.5


@repaired
class AttributeForTheDimension(Base):
    def __init__(self) -> None:
        super().__init__()
        self.dim = 1

    def mid(self, x: Tensor) -> Tensor:
        sizes = (6, 8)
        return x.flatten(1).unflatten(self.dim, sizes)


@repaired
class KeywordsOnly(Base):
    def mid(self, x: Tensor) -> Tensor:
        return self.fold(x=x, width=8)

    def fold(self, *, x: Tensor, width: int) -> Tensor:
        return torch.reshape(input=x.flatten(1), shape=(x.shape[0], -1, width))


@repaired
class ChainOverSeveralLines(Base):
    def mid(self, x: Tensor) -> Tensor:
        return (
            x
            .flatten(1)
            .reshape(
                x.shape[0],
                -1,
                8,
            )
            .relu()
            .flatten(0, 1)
            .reshape(-1, 6, 8)
        )  # fmt: skip


@repaired
class CalledTwice(Folding):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.mid(self.mid(self.a(x))))


@repaired
class Generator(Base):
    def mid(self, x: Tensor) -> Tensor:
        return torch.cat(tuple(self.parts(x)), -1)

    def parts(self, x: Tensor) -> Any:
        yield x[..., :5].relu()
        yield x[..., 5:].tanh()


@repaired
class OtherNameOfAFunction(Base):
    def other(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, 8)

    mid = other


@repaired
class MadeByNew(Base):
    def mid(self, x: Tensor) -> Tensor:
        state = x.data.new(x.size(0), 6, 8).zero_()
        for _ in range(2):
            state = (state + x).tanh()
        return state


@repaired
class MadeByFactories(Base):
    def mid(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(x.shape[0], 6, 8).to(x)
        return x.unsqueeze(2).expand(-1, -1, 2, 8).mean(2) + torch.cat([zeros, x])[: len(x)]


@repaired
class LayerWithSizes(Base):
    def __init__(self) -> None:
        super().__init__()
        self.unflatten = nn.Unflatten(1, (6, 8))

    def mid(self, x: Tensor) -> Tensor:
        return self.unflatten(x.flatten(1))


@repaired
class BatchFromTheNumberOfElements(Base):
    def mid(self, x: Tensor) -> Tensor:
        return x.reshape(x.numel() // 48, 6, 8)


@repaired
class AuxiliaryHeadInTraining(Base):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        if self.training:
            return self.b(x), self.head(x.flatten(1).view(x.shape[0], -1, 8) / x.shape[-1])
        return self.b(x)


# Decorators, outer variables, names.


def wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def times(factor: float) -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(self: nn.Module, *args: Any) -> Any:
            return function(self, *args) * factor

        return wrapper

    return decorate


@repaired
class Decorated(Base):
    @torch.no_grad()
    @wrapping
    @times(2)
    def mid(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, 8)


def silent(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: nn.Module, x: Tensor) -> Any:
        return function(self, x)

    return wrapper


@repaired
class DecoratedWithoutWraps(Base):
    @silent
    def mid(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, 8)


CALLS: list[int] = []


def closing() -> type[Base]:
    width, calls = 8, 0

    def local(function: Callable[..., Any]) -> Callable[..., Any]:
        return wrapping(function)

    @repaired
    class Closure(Base):
        DEFAULT = 8

        @local
        def mid(self, x: Tensor, default: int = DEFAULT) -> Tensor:
            nonlocal calls
            calls += 1
            CALLS.append(calls)
            return x.flatten(1).view(x.shape[0], -1, width) + 0 * default

    return Closure


Closure = closing()


def with_an_empty_cell() -> Callable[..., Any]:
    def fold(self: nn.Module, x: Tensor) -> Tensor:
        if x.dim() == 77:
            return gone  # noqa: F821 it is there, but empty
        return x.flatten(1).view(x.shape[0], -1, 8)

    gone: Any = None
    del gone
    return fold


fold_with_an_empty_cell = with_an_empty_cell()


@repaired
class EmptyCell(Base):
    def mid(self, x: Tensor) -> Tensor:
        return fold_with_an_empty_cell(self, x)


resize_1 = 2


@repaired
class NamesOfHelpers(Base):
    def mid(self, x: Tensor) -> Tensor:
        resize_0 = pin_0 = 1
        slice = 3
        x = torch.cat([x[..., :5].relu(), x[..., 5:8]], -1) * slice
        x = x.flatten(1).view(x.shape[0], -1, 8) / x.shape[-1] * pin_0
        return x.flatten(1).view(x.shape[0], -1, 8) * resize_0 * resize_1


# Parts.


@repaired
class SplitInEqualParts(Base):
    def mid(self, x: Tensor) -> Tensor:
        first, second = x.split(5, -1)
        return torch.cat([first.relu(), second.tanh()], -1)


@repaired
class SplitByAList(Base):
    def mid(self, x: Tensor) -> Tensor:
        first, second = torch.split(x, [5, 3], dim=2)
        third, fourth = x.split(split_size=[2, 6], dim=-1)
        return torch.cat([first.relu(), second.tanh()], -1) + torch.cat([third, fourth], -1)


@repaired
class SplitAtIndices(Base):
    def mid(self, x: Tensor) -> Tensor:
        first, second = x.tensor_split([5], dim=-1)
        third, fourth = torch.tensor_split(x, indices=[3], dim=-1)
        return torch.cat([first.relu(), second.tanh()], -1) + torch.cat([third, fourth], -1)


@repaired
class SplitByTheShape(Base):
    def mid(self, x: Tensor) -> Tensor:
        first, second = x.split(x.shape[-1] // 2, -1)
        return torch.cat([first.relu(), second.tanh()], -1)


@repaired
class SlicesByTheShape(Base):
    def mid(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        narrowed = torch.narrow(x, 2, half, half)
        return torch.cat([x[..., :half].relu(), x[..., half:].tanh() + narrowed], -1)


@repaired
class Slices(Base):
    def mid(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., :3].relu(), x[..., 3:].tanh()], -1)


@repaired
class SlicesFromTheEnd(Base):
    def mid(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., -8:-2].relu(), x[:, :, -2:].tanh()], -1)


@repaired
class SlicesAmongNewDimensions(Base):
    def mid(self, x: Tensor) -> Tensor:
        first, second = x[:, None, :, :5], x[:, None, ..., 5:8, None]
        return torch.cat([first.relu(), second[..., 0].tanh()], -1)[:, 0]


@repaired
class SlicesBesideNumbersAndTensors(Base):
    def mid(self, x: Tensor) -> Tensor:
        rows = torch.tensor([0, 1, 1])
        first = torch.cat([x[:, 2, :5].relu(), x[:, 2, 5:].tanh()], -1)
        return first[:, None] + torch.cat([x[:, rows, :5], x[:, rows, 5:] * 2], -1)


@repaired
class SlicesThatTakeAll(Base):
    def mid(self, x: Tensor) -> Tensor:
        width = 8
        return x[..., :width] + x[:, :, -8:] + x[:, :6, 0:100]


@repaired
class LargerOfTwo(Base):
    def mid(self, x: Tensor) -> Tensor:
        return torch.max(*x.chunk(2, -1)).repeat(1, 1, 2) + torch.min(x, x.relu())


@repaired
class SlicesWrittenTo(Base):
    def mid(self, x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        y[..., :5] = x[..., :5]
        y[..., 5:] = x[..., 5:] * 2
        y[..., :5] += x[..., :5]
        return y


@repaired
class Narrow(Base):
    def mid(self, x: Tensor) -> Tensor:
        second = torch.narrow(x, 2, start=5, length=3)
        return torch.cat([x.narrow(-1, 0, 5).relu(), second.tanh() + x.narrow(-1, -3, 3)], -1)


# Numbers.


@repaired
class NumbersInPlace(Base):
    def mid(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        x /= width**0.5
        x -= width
        x = width * x
        x *= x.shape[-1]
        return x + width


@repaired
class NumbersOnTheLeft(Base):
    def mid(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        return width / (1 + x * x) - width / (1 + 0 * x)


@repaired
class NumbersInCalls(Base):
    def mid(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        x = F.leaky_relu(x, width / 100) + F.elu(x, alpha=width / 10) + x.mul(width)
        x = x.clamp(max=width / 16) + x.clamp_(-width, width / 16)
        return x.add(x, alpha=width) + torch.add(x, x, alpha=width)


@repaired
class NumbersFromAHelper(Base):
    def mid(self, x: Tensor) -> Tensor:
        return scaled(x) + helping.scaled(x)


@repaired
class NumbersCompared(Base):
    def mid(self, x: Tensor) -> Tensor:
        return x * (x.detach() > x.shape[-1] / 16)


@repaired
class NumbersInTensors(Base):
    def mid(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        x = x / torch.tensor(width).sqrt() * torch.tensor(float(width))
        x = x * torch.tensor(data=width) * x.new_tensor(width) * torch.as_tensor(width)
        return x * torch.full((), width)


@repaired
class NumberOfElements(Base):
    def mid(self, x: Tensor) -> Tensor:
        return x + x.sum() / x.numel()


@repaired
class Means(Base):
    def mid(self, x: Tensor) -> Tensor:
        return x * torch.mean(x, dim=-1, keepdim=True) + x.mean() + torch.mean(x, (1, 2), True)


@repaired
class RmsNormByHand(Base):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def mid(self, x: Tensor) -> Tensor:
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + 1e-6))


@repaired
class NormalizedByFunction(Base):
    def mid(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) * x.shape[-1] ** 0.5


class WithNorms(Base):
    def norms(self) -> list[nn.Module]:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Sequential(*self.norms())

    def mid(self, x: Tensor) -> Tensor:
        return self.norm(x)


@repaired
class StreamUnderNorms(WithNorms):
    def norms(self) -> list[nn.Module]:
        return [nn.LayerNorm(8), nn.RMSNorm(8), nn.LayerNorm(8, bias=False), nn.RMSNorm(8, 1e-3)]


class OwnForward(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class OwnCall(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class OwnKeywords(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(input=x, normalized_shape=(8,), weight=self.weight, eps=self.eps)


@repaired
class SubclassesOfNorms(WithNorms):
    def norms(self) -> list[nn.Module]:
        return [OwnForward(8), OwnCall(8), OwnKeywords(8, bias=False)]


@repaired
class AttentionOfHeads(Base):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)

    def mid(self, x: Tensor) -> Tensor:
        B, N, C = x.shape  # noqa: N806
        q, k, v = self.qkv(x).reshape(B, N, 3, 2, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        by_hand = ((q @ k.mT) * (C // 2) ** -0.5).softmax(-1) @ v
        return x + self.out((y + by_hand).transpose(1, 2).reshape(B, N, 8))


@repaired
class WidthOfOneHead(Base):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 6) for _ in range(3))
        self.out = nn.Linear(6, 8)

    def mid(self, x: Tensor) -> Tensor:
        q, k, v = (
            f(x).view(x.shape[0], -1, 1, 6).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(x.shape[0], -1, 6))


@pytest.mark.parametrize("kind", REPAIRED, ids=lambda kind: kind.__name__)
def test_everything_goes_and_nothing_changes(kind):
    x = torch.randn(kind.shape)
    model = halved(kind(), (x,))
    small = copy.deepcopy(model)
    report = compact(small, x, latency=False)
    assert report.refused == {}
    assert small.a.weight.shape[0] == 4
    assert list(small.state_dict()) == list(model.state_dict())
    assert_equal(model, small, (x,))


@pytest.mark.parametrize("kind", REPAIRED, ids=lambda kind: kind.__name__)
def test_compact_models_are_compacted_again(kind):
    if kind is SlicesAmongNewDimensions and torch.__version__.startswith("2.6"):
        pytest.skip("torch 2.6 also slices what an index takes whole")
    x = torch.randn(kind.shape)
    model = halved(kind(), (x,))
    compact(model, x, latency=False)
    groups = couple(model, x).groups
    model = zeroed(model, groups, half_of_every_group(groups, 1), ["out in"] * len(groups))
    small = copy.deepcopy(model)
    report = compact(small, x, latency=False)
    assert report.refused == {}
    assert_equal(model, small, (x,))


class Attribute(Base):
    def __init__(self) -> None:
        super().__init__()
        self.width = 8
        self.bystander = 8

    def mid(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, self.width)


def test_a_size_that_is_an_attribute_is_changed_there():
    x = torch.randn(4, 6, 5)
    model = halved(Attribute(), (x,))
    compact(model, x, latency=False)
    assert (model.width, model.bystander) == (4, 8)
    assert type(model) is Attribute


class TwoSizes(Base):
    """One attribute for a width that shrinks and for one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 8

    def forward(self, x: Tensor) -> Any:
        y = x.flatten(1)[:, :24].view(x.shape[0], -1, self.width)
        return self.b(self.a(x).flatten(1).view(x.shape[0], -1, self.width)), y


def test_an_attribute_that_serves_two_sizes_is_changed_for_one_of_them():
    x = torch.randn(4, 6, 5)
    model = halved(TwoSizes(), (x,))
    small = copy.deepcopy(model)
    compact(small, x, latency=False)
    assert small.a.weight.shape[0] == 4
    assert_equal(model, small, (x,))


class Images(nn.Module):
    """Sizes that depend on the input's beside one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 2, 1)
        self.width = 8

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        height, width = x.shape[2:]
        x = x.flatten(1).view(-1, self.width * height * width)
        return self.last(x.view(-1, 8, height, width))


def test_the_size_of_the_input_stays_free():
    x = torch.randn(2, 3, 8, 8)
    model = halved(Images(), (x,))
    small = copy.deepcopy(model)
    assert compact(small, x, latency=False).refused == {}
    for other in (torch.randn(3, 3, 6, 5), torch.randn(1, 3, 16, 9)):
        torch.testing.assert_close(small(other), model(other))


def test_variables_of_enclosing_functions_are_shared_with_the_original():
    x = torch.randn(4, 6, 5)
    model = halved(Closure(), (x,))
    compact(model, x, latency=False)
    model(x)
    before = CALLS[-1]
    model(x)
    Closure()(x)
    assert CALLS[-2:] == [before + 1, before + 2]


def test_edits_of_a_second_compaction_join_those_of_the_first():
    x = torch.randn(4, 6, 5)
    model = halved(LocalVariables(), (x,))
    compact(model, x, latency=False)
    kind, first = edits_of(type(model))
    groups = couple(model, x).groups
    model = zeroed(model, groups, half_of_every_group(groups), ["out in"])
    compact(model, x, latency=False)
    assert model.a.weight.shape[0] == 2
    assert edits_of(type(model))[0] is kind is LocalVariables
    assert len(edits_of(type(model))[1]) == len(first) == 2


# Numbers that are not those of a size.


class Counting(Base):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def mid(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Random(Base):
    def mid(self, x: Tensor) -> Tensor:
        return x * random.uniform(1, 2) if self.training else x


class OfTheData(Base):
    def mid(self, x: Tensor) -> Tensor:
        return x * x.square().sum().item() + x.abs().mean().item() * x


@pytest.mark.parametrize("kind", [Counting, Random])
def test_a_number_that_differs_from_run_to_run_is_left_alone(kind):
    x = torch.randn(4, 6, 5)
    model = halved(kind(), (x,)).double()
    small = copy.deepcopy(model)
    compact(small, x.double(), latency=False)
    assert small.a.weight.shape[0] == 4
    assert type(small) is kind  # nothing in its source was pinned
    model.calls = small.calls = 7
    for training in (True, False):
        seen = []
        for net in (model.train(training), small.train(training)):
            random.seed(3)
            seen.append([net(x.double()) for _ in range(3)])
        assert not training or not torch.equal(seen[1][0], seen[1][1])
        torch.testing.assert_close(seen[1], seen[0])


def test_a_number_that_is_computed_from_the_data_is_computed_anew():
    x = torch.randn(4, 6, 5)
    model = halved(OfTheData(), (x,))
    small = copy.deepcopy(model)
    compact(small, x, latency=False)
    assert small.a.weight.shape[0] == 4
    assert_equal(model, small, (x,))


@repaired
class InALoop(Base):
    def mid(self, x: Tensor) -> Tensor:
        for width in (8, 4, 8):
            x = x.reshape(x.shape[0], -1, width)
        return x


# What is left alone, with the reason.


class LambdaMethod(Base):
    mid = lambda self, x: x.flatten(1).view(x.shape[0], -1, 8)  # noqa: E731


class Partial(Base):
    def __init__(self) -> None:
        super().__init__()
        self.fold = functools.partial(helping.folded, width=8)

    def mid(self, x: Tensor) -> Tensor:
        return self.fold(x)


class Patched(Base):
    def __init__(self) -> None:
        super().__init__()
        self.mid = lambda x: x.flatten(1).view(x.shape[0], -1, 8)


class Hooked(Base):
    def __init__(self) -> None:
        super().__init__()
        self.a.register_forward_hook(hook)

    def mid(self, x: Tensor) -> Tensor:
        return x


def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output.flatten(1).view(output.shape[0], -1, 8)


class Registering(Base):
    def __init_subclass__(cls, *, name: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    def mid(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape[0], -1, 8)


class PartOfMore(Base):
    def mid(self, x: Tensor) -> Tensor:
        return torch.cat([x.__getitem__((..., slice(0, 5))), x[..., 5:].tanh()], -1)


class Transformed(Base):
    def mid(self, x: Tensor) -> Tensor:
        return torch.func.vmap(lambda row: row.flatten().view(-1, 8))(x)


class OtherCourse(Base):
    def mid(self, x: Tensor) -> Tensor:
        return x if self.a.out_features == 8 else x.sum(-1, keepdim=True)


class Asserting(Base):
    def mid(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 8:
            raise ValueError("eight are expected")
        return x


class AuxiliaryHeadWithoutSource(Base):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        return (self.b(x), self.head(unreadable(x))) if self.training else self.b(x)


scope: dict[str, Any] = {}
exec("def unreadable(x): return x.flatten(1).view(x.shape[0], -1, 8)", scope)
unreadable = scope["unreadable"]


class ViewOf(nn.Module):
    def forward(self, x: Tensor, width: int) -> Tensor:
        return x.flatten(1).view(x.shape[0], 6, width)[:, :, 0:width].expand(-1, 6, width)


REFUSED = {
    LambdaMethod: "not defined by a statement of its own",
    Partial: "what Partial.mid calls has no source",
    Patched: "not defined by a statement of its own",
    Hooked: "what Base.forward calls has no source",
    Registering: "Registering has no subclasses",
    PartOfMore: "it is a part of what x.__getitem__ does",
    Transformed: "under a transformation of torch.func",
    OtherCourse: "aten.sum.dim_IntList runs instead of aten::linear",
    Asserting: "eight are expected",
    AuxiliaryHeadWithoutSource: "no source of unreadable",
}


@pytest.mark.parametrize(
    ("kind", "reason"), REFUSED.items(), ids=lambda it: getattr(it, "__name__", "")
)
def test_what_cannot_be_repaired_is_left_alone_with_the_reason(kind, reason):
    x = torch.randn(kind.shape)
    model = halved(kind(), (x,))
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(VerificationError) as raised:
        compact(model, x, latency=False)
    assert reason in str(raised.value)
    assert type(model) is kind
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


class SizesByTurns(nn.Module):
    """A module that is called twice, for widths of which the one is half of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 8), nn.Linear(8, 4), nn.Linear(4, 2)
        self.cut = Cut()

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.cut(self.b(self.cut(self.a(x), 3)), 1))


class Cut(nn.Module):
    def forward(self, x: Tensor, at: int) -> Tensor:
        return torch.cat([x[..., :at].relu(), x[..., at:].tanh()], -1)


def test_a_module_that_is_called_for_two_sizes_cuts_each_where_it_should():
    x = torch.randn(4, 5)
    model = halved(SizesByTurns(), (x,))
    small = copy.deepcopy(model)
    assert compact(small, x, latency=False).refused == {}
    assert_equal(model, small, (x,))
