"""A transformer encoder whose layers get no nested tensors, and that pads as if they did.

In inference, `torch.nn.TransformerEncoder` may leave out padded positions, for the sake of a fused
kernel that counts on the sizes with which its layers were built, and it then fills them with zeros.
`TensorSizedEncoder` computes the same without that kernel: zeros where torch's own encoder would
have left positions out, and what the layers compute everywhere else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override


class TensorSizedEncoder(nn.TransformerEncoder):
    """`torch.nn.TransformerEncoder` for layers of any size.

    An existing module becomes one by its class alone: its attributes stay, among them
    ``use_nested_tensor``, which says whether it would have used nested tensors. To torch's own
    code it reads as False.
    """

    @property  # type: ignore[explicit-override]  # it replaces an attribute
    def use_nested_tensor(self) -> bool:
        """Whether the layers get nested tensors: never."""
        return False

    @use_nested_tensor.setter
    def use_nested_tensor(self, value: bool) -> None:
        vars(self)["use_nested_tensor"] = value

    @override
    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Run the layers one after the other."""
        if mask is not None or src_key_padding_mask is None or not self._would_nest(src):
            return super().forward(src, mask, src_key_padding_mask, is_causal)
        ignored = _ignored(src_key_padding_mask)
        lengths = (~ignored).sum(1, keepdim=True)
        behind = torch.arange(src.shape[1], device=src.device) >= lengths
        # Torch looks whether all padding stands behind, but not while it compiles.
        if getattr(self, "mask_check", True) and (
            torch.compiler.is_compiling() or not torch.equal(ignored, behind)
        ):
            return super().forward(src, mask, src_key_padding_mask, is_causal)
        for layer in self.layers:
            src = layer(src, src_key_padding_mask=behind)
        src = src.masked_fill(behind.unsqueeze(-1), 0.0)
        return src if self.norm is None else self.norm(src)

    def _would_nest(self, src: Tensor) -> bool:
        """Tell whether torch's own encoder would use nested tensors, if the padding allows it."""
        first: Any = self.layers[0]
        return bool(
            vars(self).get("use_nested_tensor", False)
            and torch.backends.mha.get_fastpath_enabled()
            and not first.training
            and src.dim() == 3
            and not src.is_nested
            and not torch.is_autocast_enabled()
            and src.device.type in _devices()
            and _is_plain_inference([src, *_fused_parameters(first)])
        )


def _ignored(mask: Tensor) -> Tensor:
    """Return a padding mask as bools, as torch does where it makes nested tensors."""
    return mask if mask.dtype == torch.bool else mask != 0


def _fused_parameters(layer: Any) -> list[Tensor | None]:
    """Return the parameters of a layer that torch would hand to its fused kernel."""
    attention = layer.self_attn
    parts = [attention.out_proj, layer.norm1, layer.norm2, layer.linear1, layer.linear2]
    own = [attention.in_proj_weight, attention.in_proj_bias]
    return own + [getattr(part, name) for part in parts for name in ("weight", "bias")]


def _is_plain_inference(tensors: list[Tensor | None]) -> bool:
    """Tell whether there are no gradients to compute, and no tensors of other classes."""
    needs_grad = any(tensor is not None and tensor.requires_grad for tensor in tensors)
    has_function = torch.overrides.has_torch_function(tuple(t for t in tensors if t is not None))
    return not has_function and not (torch.is_grad_enabled() and needs_grad)


def _devices() -> set[str]:
    """Return the kinds of devices on which torch uses nested tensors."""
    other = getattr(torch.utils.backend_registration, "_privateuse1_backend_name", "cpu")
    return {"cpu", "cuda", "xpu", other}
