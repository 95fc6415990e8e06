"""Norms over a width of which some features are gone.

A feature that was removed was zero, and still counts in the statistics of the norm. The functions
compute in float32, or in float64 for inputs of that type, and round once, as torch's own norms do.
`WideLayerNorm`, `WideRMSNorm` and `WideGroupNorm` are torch's layers over such a width: an existing
layer becomes one by its class, and keeps its parameters, their names and its attributes.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override


def wide_layer_norm(
    x: Tensor, full_width: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    r"""Normalise over ``full_width`` features, of which those that are gone were zero.

    .. math:: m = \frac{1}{w} \sum x,\quad v = \frac{1}{w} (\sum (x - m)^2 + (w - n) m^2)

    over the *n* features that are left of the width *w*: no term is negative, so nothing cancels.

    Args:
        x: shape ``[..., n]``.
        full_width: features that there were.
        weight: shape ``[n]``.
        bias: shape ``[n]``.
        eps: added to the variance.

    Returns:
        The shape of ``x``.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = wide.sum(-1, keepdim=True) / full_width
    centred = wide - mean
    rest = (full_width - x.shape[-1]) * mean.square()
    variance = (centred.square().sum(-1, keepdim=True) + rest) / full_width
    return _scaled(x, centred * torch.rsqrt(variance + eps), weight, bias)


def wide_rms_norm(x: Tensor, full_width: int, weight: Tensor | None, eps: float | None) -> Tensor:
    """Normalise over ``full_width`` features, of which those that are gone were zero.

    The mean square is the sum of the squares of what is left, over the full width.

    Args:
        x: shape ``[..., n]``.
        full_width: features that there were.
        weight: shape ``[n]``.
        eps: added to the mean square; by default the smallest step of the type computed in.

    Returns:
        The shape of ``x``.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if eps is None:
        eps = 2.0**-52 if wide.dtype == torch.float64 else 2.0**-23
    mean_square = wide.square().sum(-1, keepdim=True) / full_width
    return _scaled(x, wide * torch.rsqrt(mean_square + eps), weight, None)


def wide_group_norm(
    x: Tensor, full_width: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalise over ``full_width`` channels as one group, of which those that are gone were zero.

    The statistics are those of `wide_layer_norm`, over channels and positions together.

    Args:
        x: shape ``[batch, n, ...]``.
        full_width: channels that there were.
        weight: shape ``[n]``.
        bias: shape ``[n]``.
        eps: added to the variance.

    Returns:
        The shape of ``x``.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32)).flatten(1)
    left = wide.shape[1] // x.shape[1]
    count = full_width * left
    mean = wide.sum(-1, keepdim=True) / count
    centred = wide - mean
    rest = (full_width - x.shape[1]) * left * mean.square()
    variance = (centred.square().sum(-1, keepdim=True) + rest) / count
    normalized = (centred * torch.rsqrt(variance + eps)).view_as(x)
    line = [1] * x.dim()
    line[1] = -1
    if weight is not None:
        weight = weight.view(line)
    if bias is not None:
        bias = bias.view(line)
    return _scaled(x, normalized, weight, bias)


def _scaled(x: Tensor, normalized: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return the normalised features, scaled and shifted, in the type that torch would return."""
    if weight is not None:
        normalized = normalized * weight
    if bias is not None:
        normalized = normalized + bias
    if x.is_cuda and torch.is_autocast_enabled():  # it runs norms in float32, but not on the CPU
        return normalized
    return normalized.to(x.dtype)


class WideLayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm` over ``full_width`` features, of which some are gone."""

    full_width: int

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return wide_layer_norm(input, self.full_width, self.weight, self.bias, self.eps)

    @override
    def extra_repr(self) -> str:
        """Name the full width, too."""
        return f"{super().extra_repr()}, full_width={self.full_width}"


class WideRMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm` over ``full_width`` features, of which some are gone."""

    full_width: int

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return wide_rms_norm(x, self.full_width, self.weight, self.eps)

    @override
    def extra_repr(self) -> str:
        """Name the full width, too."""
        return f"{super().extra_repr()}, full_width={self.full_width}"


class WideGroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` of one group over ``full_width`` channels, of which some are gone."""

    full_width: int

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Normalise channels and positions together."""
        return wide_group_norm(input, self.full_width, self.weight, self.bias, self.eps)

    @override
    def extra_repr(self) -> str:
        """Name the full width, too."""
        return f"{super().extra_repr()}, full_width={self.full_width}"


PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    WideLayerNorm: nn.LayerNorm,
    WideRMSNorm: nn.RMSNorm,
    WideGroupNorm: nn.GroupNorm,
}
"""The norm of torch that every wide one is made of."""


def show_as_plain_norms(model: nn.Module) -> None:
    """Let wide norms of a model run as torch's own, so that a recording shows one operation each.

    What they compute is then wrong in number, and right in shape and type.

    Args:
        model: a twin, which is changed in place.
    """
    for module in model.modules():
        if type(module) in PLAIN:
            module.__class__ = PLAIN[type(module)]
