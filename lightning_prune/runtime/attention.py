"""Multi-head attention that takes its sizes from its tensors.

`torch.nn.MultiheadAttention` asserts that its width is the one it was built with and is the number
of heads times their width. `TensorSizedAttention` computes the same from the same parameters, but
asks nothing of them: fewer heads, and inputs and outputs of any width, fit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override


class TensorSizedAttention(nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention` whose number of heads follows its parameters.

    An existing module becomes one by its class alone: parameters, buffers, hooks and attributes
    stay. The width of a head, ``head_dim``, is the one attribute that counts.
    """

    @override
    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Compute attention, in the shapes and with the options of the base class."""
        batched = query.dim() == 3
        if not batched:
            query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        q, k, v = (self._heads(x) for x in self._project(query, key, value))
        mask = self._mask(q, key_padding_mask, attn_mask)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            weights = (logits if mask is None else logits + mask).softmax(-1)
            output = F.dropout(weights, dropout) @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            output = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        output = self.out_proj(output.transpose(1, 2).flatten(2))
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        weights = (
            (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            if self.in_proj_weight is None
            else self.in_proj_weight.chunk(3)
        )
        q, k, v = map(F.linear, (query, key, value), weights, biases)
        if self.bias_k is not None and self.bias_v is not None:
            # Not `len`, which a trace takes for a constant.
            k = torch.cat([k, self.bias_k.expand(k.shape[0], -1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(v.shape[0], -1, -1)], 1)
        return q, k, v

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (-1, self.head_dim))
        return heads.transpose(1, 2)

    def _mask(self, q: Tensor, padding: Tensor | None, attention: Tensor | None) -> Tensor | None:
        """Join the masks to one that is added, and pad it for the key that was appended."""
        padding, attention = _additive(padding, q), _additive(attention, q)
        if attention is not None and attention.dim() == 3:
            attention = attention.unflatten(0, (q.shape[0], -1))
        if padding is not None:
            padding = padding[:, None, None, :]
            attention = padding if attention is None else attention + padding
        return attention if attention is None or self.bias_k is None else F.pad(attention, (0, 1))


def _additive(mask: Tensor | None, like: Tensor) -> Tensor | None:
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))


def take_sizes_from_tensors(model: nn.Module) -> None:
    """Let every `torch.nn.MultiheadAttention` of ``model`` take its sizes from its tensors.

    Args:
        model: the module to change in place.
    """
    for module in model.modules():
        if can_take_sizes_from_tensors(module):
            module.__class__ = TensorSizedAttention
            # Its owner must not hand its parameters to a fused kernel that counts on the sizes.
            module._qkv_same_embed_dim = False  # type: ignore[assignment]


def can_take_sizes_from_tensors(module: nn.Module) -> bool:
    """Tell whether a module is an attention that has an equal with sizes from its tensors."""
    return type(module) is nn.MultiheadAttention and not module.add_zero_attn
