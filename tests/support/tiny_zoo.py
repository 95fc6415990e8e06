"""Tiny models, one for each kind of network, with the groups that they have.

The expected groups are data: name, units and the modules that write the units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Expected = dict[str, tuple[int, tuple[str, ...]]]


@dataclass(frozen=True)
class Example:
    """A model, the shapes of its inputs, and its groups: name → (units, writers)."""

    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    groups: Expected

    def inputs(self) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(7)
        return tuple(torch.randn(shape, generator=generator) for shape in self.shapes)


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Linear(5, 8),
            nn.ReLU(),
            nn.Linear(8, 6),
            nn.Sigmoid(),
            nn.Dropout(),
            nn.Linear(6, 3),
        )


class PlainCnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 6, 3, stride=2)
        self.bn2 = nn.BatchNorm2d(6, affine=False)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 2)
        x = F.hardswish(self.bn2(self.conv2(x)))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Block(nn.Module):
    def __init__(self, read: int, written: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(read, 6, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, written, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(written)
        self.relu = nn.ReLU(inplace=True)
        self.down = None
        if read != written or stride != 1:
            self.down = nn.Sequential(
                nn.Conv2d(read, written, 1, stride, bias=False), nn.BatchNorm2d(written)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.down is None else self.down(x)
        return self.relu(out)


class IdentityResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(8, 8), Block(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class DownsampleResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4, 4), Block(4, 8, stride=2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class InvertedResidual(nn.Module):
    """Depthwise-separable, with squeeze and excite."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.expand = nn.Conv2d(4, 8, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.each = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.squeeze = nn.Conv2d(8, 2, 1)
        self.excite = nn.Conv2d(2, 8, 1)
        self.project = nn.Conv2d(8, 4, 1, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.relu6(self.bn2(self.each(F.silu(self.bn1(self.expand(x))))))
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1))))
        return self.head((x + self.project(y * torch.sigmoid(gate))).mean((-2, -1)))


class Dense(nn.Module):
    """Every layer reads the concatenation of all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv1 = nn.Conv2d(6, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(10)
        self.conv2 = nn.Conv2d(10, 4, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(14)
        self.head = nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.conv0(x)]
        features.append(self.conv1(F.relu(self.bn1(features[0]))))
        features.append(self.conv2(F.relu(self.bn2(torch.cat(features, 1)))))
        return self.head(F.relu(self.bn3(torch.cat(features, 1))).mean((2, 3)))


class Vgg(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 4, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(4 * 2 * 2, 10), nn.ReLU(), nn.Linear(10, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc1 = nn.Conv2d(3, 4, 3, padding=1)
        self.enc2 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.mid = nn.Conv2d(6, 5, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(5, 4, 2, stride=2)
        self.dec2 = nn.Conv2d(10, 6, 3, padding=1)
        self.dec1 = nn.Conv2d(10, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = F.relu(self.enc1(x))
        two = F.relu(self.enc2(one))
        up = self.up(F.relu(self.mid(two)))
        up = F.relu(self.dec2(torch.cat([up, two], 1)))
        up = F.interpolate(up, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(F.relu(self.dec1(torch.cat([up, one], 1))))


class Grouped(nn.Module):
    """As in ResNeXt, with fewer groups than columns, and once more with more."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 1)
        self.columns = nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.conv2 = nn.Conv2d(12, 8, 1)
        self.whole = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.columns(F.relu(self.conv1(x))))
        return self.head(F.relu(self.whole(F.relu(self.conv2(x)))).mean((2, 3)))


class TwoInTwoOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 6, 3)
        self.vector = nn.Linear(4, 6)
        self.shared = nn.Linear(6, 8)
        self.head1 = nn.Linear(8, 3)
        self.head2 = nn.Linear(8, 2)

    def forward(self, image: Tensor, vector: Tensor) -> dict[str, Tensor]:
        both = F.relu(self.image(image).mean((2, 3)) + self.vector(vector))
        hidden = torch.tanh(self.shared(both))
        return {"one": self.head1(hidden), "two": self.head2(hidden)}


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.again = nn.Linear(6, 6)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.again(F.relu(self.again(F.relu(self.first(x)))))))


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(5, 8)
        self.inner = nn.Linear(8, 8)
        self.again = nn.Linear(8, 8)
        self.again.weight = self.inner.weight
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(F.relu(self.inner(F.relu(self.encoder(x)))))
        return self.last(F.relu(F.linear(x, self.encoder.weight.t())))


class OptionA(nn.Module):
    """A shortcut without weights: every second position, padded with zero channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.head(F.relu(self.conv2(F.relu(self.conv1(x))) + shortcut).mean((2, 3)))


class OneDimensional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(2, 6, 5, padding=2)
        self.bn1 = nn.BatchNorm1d(6)
        self.conv2 = nn.Conv1d(6, 4, 3)
        self.norm2 = nn.InstanceNorm1d(4, affine=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(F.gelu(self.bn1(self.conv1(x))), 2)
        return self.head(F.elu(self.norm2(self.conv2(x))).amax(-1))


class AuxiliaryHead(nn.Module):
    """A head that runs in train mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(6, 4, 3)
        self.aux = nn.Conv2d(6, 5, 1)
        self.aux_head = nn.Linear(5, 2)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = F.relu(self.conv1(x))
        out = self.head(F.relu(self.conv2(x)).mean((2, 3)))
        if self.training:
            return out, self.aux_head(F.relu(self.aux(x)).mean((2, 3)))
        return out


class Gated(nn.Module):
    """Gated linear units: by chunks, and by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Linear(4, 12)
        self.value = nn.Linear(6, 8)
        self.gate = nn.Linear(6, 8, bias=False)
        self.scale = nn.Parameter(torch.ones(8))
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.both(x).chunk(2, -1)
        x = value * torch.sigmoid(gate)
        return self.last(self.scale * torch.sigmoid(self.gate(x)) * self.value(x) + 0.5)


_IMAGE = ((4, 3, 8, 8),)

ZOO: dict[str, Example] = {
    "mlp": Example(Mlp, ((4, 5),), {"0": (8, ("0",)), "2": (6, ("2",))}),
    "plain_cnn": Example(
        PlainCnn, _IMAGE, {"conv1": (8, ("conv1", "bn1")), "conv2": (6, ("conv2",))}
    ),
    "identity_residual": Example(
        IdentityResidual,
        _IMAGE,
        {
            "stem": (
                8,
                ("stem", "blocks.0.conv2", "blocks.0.bn2", "blocks.1.conv2", "blocks.1.bn2"),
            ),
            "blocks.0.conv1": (6, ("blocks.0.conv1", "blocks.0.bn1")),
            "blocks.1.conv1": (6, ("blocks.1.conv1", "blocks.1.bn1")),
        },
    ),
    "downsample_residual": Example(
        DownsampleResidual,
        _IMAGE,
        {
            "stem": (4, ("stem", "blocks.0.conv2", "blocks.0.bn2")),
            "blocks.0.conv1": (6, ("blocks.0.conv1", "blocks.0.bn1")),
            "blocks.1.conv1": (6, ("blocks.1.conv1", "blocks.1.bn1")),
            "blocks.1.conv2": (
                8,
                ("blocks.1.conv2", "blocks.1.bn2", "blocks.1.down.0", "blocks.1.down.1"),
            ),
        },
    ),
    "inverted_residual": Example(
        InvertedResidual,
        _IMAGE,
        {
            "stem": (4, ("stem", "project")),
            "expand": (8, ("expand", "bn1", "each", "bn2", "excite")),
            "squeeze": (2, ("squeeze",)),
        },
    ),
    "dense": Example(
        Dense,
        _IMAGE,
        {
            "conv0": (6, ("conv0", "bn1", "bn2", "bn3")),
            "conv1": (4, ("conv1", "bn2", "bn3")),
            "conv2": (4, ("conv2", "bn3")),
        },
    ),
    "vgg": Example(
        Vgg,
        _IMAGE,
        {
            "features.0": (6, ("features.0",)),
            "features.3": (4, ("features.3",)),
            "classifier.1": (10, ("classifier.1",)),
        },
    ),
    "encoder_decoder": Example(
        EncoderDecoder,
        _IMAGE,
        {
            "enc1": (4, ("enc1",)),
            "enc2": (6, ("enc2",)),
            "mid": (5, ("mid",)),
            "up": (4, ("up",)),
            "dec2": (6, ("dec2",)),
            "dec1": (4, ("dec1",)),
        },
    ),
    "grouped": Example(
        Grouped,
        _IMAGE,
        {
            "conv1": (4, ("conv1",)),
            "columns": (6, ("columns",)),
            "conv2": (4, ("conv2", "whole")),
        },
    ),
    "two_in_two_out": Example(
        TwoInTwoOut,
        ((4, 3, 8, 8), (4, 4)),
        {"image": (6, ("image", "vector")), "shared": (8, ("shared",))},
    ),
    "called_twice": Example(CalledTwice, ((4, 4),), {"first": (6, ("first", "again"))}),
    "tied": Example(Tied, ((4, 5),), {"encoder": (8, ("encoder", "inner", "again"))}),
    "option_a": Example(
        OptionA, _IMAGE, {"stem": (4, ("stem", "conv2")), "conv1": (6, ("conv1",))}
    ),
    "one_dimensional": Example(
        OneDimensional,
        ((4, 2, 16),),
        {"conv1": (6, ("conv1", "bn1")), "conv2": (4, ("conv2", "norm2"))},
    ),
    "auxiliary_head": Example(
        AuxiliaryHead,
        _IMAGE,
        {"conv1": (6, ("conv1",)), "conv2": (4, ("conv2",)), "aux": (5, ("aux",))},
    ),
    "gated": Example(
        Gated, ((4, 4),), {"both": (6, ("both",)), "gate": (8, ("gate", "", "value"))}
    ),
}
