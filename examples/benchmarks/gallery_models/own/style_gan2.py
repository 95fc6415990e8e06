"""A generator of images whose convolutions are scaled by a style."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StyledConvolution(nn.Module):
    """Weights are scaled by a style for each image, then brought to length one again."""

    def __init__(self, read: int, written: int, style: int, size: int, normed: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(written, read, size, size))
        self.style = nn.Linear(style, read)
        self.bias = nn.Parameter(torch.zeros(written))
        self.normed = normed

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map ``[batch, read, height, width]`` to ``[batch, written, height, width]``."""
        batch, read, height, width = x.shape
        weight = self.weight * self.style(style)[:, None, :, None, None]
        if self.normed:
            weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        written, size = weight.shape[1], weight.shape[-1]
        # The images of a batch are the groups of one convolution.
        weight = weight.reshape(batch * written, read, size, size)
        x = x.reshape(1, batch * read, height, width)
        x = F.conv2d(x, weight, padding=size // 2, groups=batch)
        return x.reshape(batch, written, height, width) + self.bias[:, None, None]


class StyleGan2(nn.Module):
    """Karras et al., 2019, "Analyzing and Improving the Image Quality of StyleGAN", 1912.04958."""

    def __init__(self, style: int = 16, widths: tuple[int, ...] = (32, 24, 16)) -> None:
        super().__init__()
        self.mapping = nn.Sequential(
            nn.Linear(style, style), nn.LeakyReLU(0.2), nn.Linear(style, style), nn.LeakyReLU(0.2)
        )
        self.start = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        pairs = list(zip((widths[0], *widths), widths, strict=False))
        self.layers = nn.ModuleList(StyledConvolution(i, o, style, 3) for i, o in pairs)
        self.to_rgb = nn.ModuleList(StyledConvolution(o, 3, style, 1, False) for o in widths)

    def forward(self, noise: Tensor) -> Tensor:
        """Map ``[batch, style]`` to images ``[batch, 3, 16, 16]``."""
        style = self.mapping(F.normalize(noise))
        x = self.start.expand(len(noise), -1, -1, -1)
        image = torch.zeros(len(noise), 3, 4, 4, device=x.device, dtype=x.dtype)
        for index, (layer, to_rgb) in enumerate(zip(self.layers, self.to_rgb, strict=True)):
            if index:
                x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
                image = F.interpolate(image, scale_factor=2.0, mode="bilinear")
            x = F.leaky_relu(layer(x, style), 0.2)
            image = image + to_rgb(x, style)
        return image
