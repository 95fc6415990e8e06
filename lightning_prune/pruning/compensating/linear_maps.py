"""Linear maps: what a product with a weight reads, as features whose weighted sums are its outputs.

A product of matrices has one feature for every column; a convolution has one for every channel and
position of its kernel, a transposed one too, as the convolution of spread inputs that it is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional
from typing_extensions import override

_POSITIONS = 256
"""Of the outputs of a convolution for one example, how many are looked at, about."""


@dataclass(frozen=True)
class LinearMap(ABC):
    """How a weight is read.

    A weight is looked at as matrices, one for each group of a convolution: ``[groups, outputs,
    features]``.
    """

    @abstractmethod
    def matrices(self, weight: Tensor) -> Tensor:
        """Return the weight as matrices, shape ``[groups, outputs, features]``."""

    @abstractmethod
    def weight(self, matrices: Tensor, like: Tensor) -> Tensor:
        """Return matrices in the shape of the weight ``like``."""

    @abstractmethod
    def features(self, inputs: Tensor) -> Tensor:
        """Return what every output is a sum of, shape ``[groups, rows, features]``."""

    @abstractmethod
    def outputs(self, outputs: Tensor) -> Tensor:
        """Return the outputs in the same rows, shape ``[groups, rows, outputs]``."""


@dataclass(frozen=True)
class MatrixProduct(LinearMap):
    """Inputs of shape ``[rows, features]`` times a weight of shape ``[features, outputs]``."""

    @override
    def matrices(self, weight: Tensor) -> Tensor:
        """Return the transposed weight."""
        return weight.T.unsqueeze(0)

    @override
    def weight(self, matrices: Tensor, like: Tensor) -> Tensor:
        """Return the transposed matrix."""
        return matrices[0].T

    @override
    def features(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        return inputs.unsqueeze(0)

    @override
    def outputs(self, outputs: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs.unsqueeze(0)


@dataclass(frozen=True)
class Convolution(LinearMap):
    """A convolution with a weight of shape ``[outputs, channels / groups, *kernel]``.

    Where it is transposed, the weight has the shape ``[channels, outputs / groups, *kernel]``.

    Args:
        kernel: sizes of the kernel.
        stride: of the outputs; where it is transposed, of the inputs.
        padding: in front of and behind each dimension of the inputs, spread ones if transposed.
        dilation: of each dimension.
        transposed: whether it is transposed.
        groups: how many there are.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    transposed: bool
    groups: int

    @classmethod
    def of(cls, weight: Tensor, args: Sequence[Any]) -> Convolution:
        """Return the linear_map of a call of ``aten::convolution``.

        Args:
            weight: of the convolution.
            args: the arguments of the call behind the bias.
        """
        kernel = tuple(weight.shape[2:])
        given, transposed, more, groups = args[:3], bool(args[3]), args[4], int(args[5])
        stride, padding, dilation = (_for_each(kernel, value) for value in given)
        pads = [(p, p) for p in padding]
        if transposed:
            reach = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
            ends = _for_each(kernel, more)
            pads = [(r, r + end) for r, end in zip(reach, ends, strict=True)]
        return cls(kernel, stride, tuple(pads), dilation, transposed, groups)

    @override
    def matrices(self, weight: Tensor) -> Tensor:
        """Return the kernels of every group, flat."""
        weight = weight.unflatten(0, (self.groups, -1))
        if self.transposed:
            weight = weight.transpose(1, 2).flip(self._kernel_dims)
        return weight.flatten(2)

    @override
    def weight(self, matrices: Tensor, like: Tensor) -> Tensor:
        """Return the kernels in their shape."""
        kernels = matrices.unflatten(2, (-1, *self.kernel))
        if self.transposed:
            kernels = kernels.flip(self._kernel_dims).transpose(1, 2)
        weight: Tensor = kernels.reshape(like.shape)
        return weight

    @override
    def features(self, inputs: Tensor) -> Tensor:
        """Return the patches under the kernel, at some of the positions of the outputs."""
        stride = self.stride
        if self.transposed:
            inputs, stride = _spread(inputs, stride), (1,) * len(stride)
        inputs = functional.pad(inputs, [p for pair in reversed(self.padding) for p in pair])
        inputs = inputs.contiguous()
        sizes = [
            (size - d * (k - 1) - 1) // s + 1
            for size, d, k, s in zip(
                inputs.shape[2:], self.dilation, self.kernel, stride, strict=True
            )
        ]
        step = self._step(sizes)
        steps = inputs.stride()[2:]
        patches = inputs.as_strided(
            (*inputs.shape[:2], *(-(-size // step) for size in sizes), *self.kernel),
            (
                *inputs.stride()[:2],
                *(s * step * one for s, one in zip(stride, steps, strict=True)),
                *(d * one for d, one in zip(self.dilation, steps, strict=True)),
            ),
        )
        channels = 1 + len(self.kernel)
        return _by_group(patches.movedim(1, channels).flatten(channels), self.groups)

    @override
    def outputs(self, outputs: Tensor) -> Tensor:
        """Return the outputs at the same positions."""
        step = self._step(outputs.shape[2:])
        chosen = _every_nth(outputs, [step] * len(self.kernel))
        return _by_group(chosen.movedim(1, -1), self.groups)

    @property
    def _kernel_dims(self) -> list[int]:
        """The dimensions of the kernel where the groups are apart."""
        return [3 + dim for dim in range(len(self.kernel))]

    def _step(self, sizes: Sequence[int]) -> int:
        """Return the distance of the positions that are looked at, in every dimension."""
        sparser: float = (math.prod(sizes) / _POSITIONS) ** (1 / len(sizes))
        step = max(1, math.ceil(sparser))
        # Outputs of a transposed convolution at one place between the inputs are unlike others.
        while self.transposed and any(math.gcd(step, stride) > 1 for stride in self.stride):
            step += 1
        return step


def _for_each(kernel: tuple[int, ...], values: Sequence[int]) -> tuple[int, ...]:
    """Return a number for each dimension of the kernel, where one may stand for all."""
    return tuple(values) if len(values) == len(kernel) else tuple(values) * len(kernel)


def _spread(inputs: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Return the inputs with zeros between them, as a transposed convolution reads them."""
    sizes = [(n - 1) * s + 1 for n, s in zip(inputs.shape[2:], stride, strict=True)]
    spread = inputs.new_zeros((*inputs.shape[:2], *sizes))
    _every_nth(spread, stride).copy_(inputs)
    return spread


def _every_nth(values: Tensor, steps: Sequence[int]) -> Tensor:
    """Return a view of every *n*-th value along the dimensions behind the second."""
    for dim, step in enumerate(steps, start=2):
        values = values.unfold(dim, 1, step).squeeze(-1)
    return values


def _by_group(values: Tensor, groups: int) -> Tensor:
    """Return values of shape ``[..., groups * n]`` in the shape ``[groups, rows, n]``."""
    by_group: Tensor = values.unflatten(-1, (groups, -1)).flatten(0, -3).movedim(1, 0)
    return by_group
