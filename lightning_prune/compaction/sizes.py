"""Sizes that torch's own modules repeat in attributes, derived from their tensors."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

Sizes = dict[str, int | tuple[int, ...]]


def module_sizes(module: nn.Module) -> Sizes:
    """Return the size attributes that ``module`` must have to fit its tensors.

    Args:
        module: any module; its number of groups must be right already.

    Returns:
        Attribute names and values; empty for a module that keeps no sizes.
    """
    for kind, sizes in _SIZES.items():
        if isinstance(module, kind):
            return sizes(module)
    return {}


def _linear(module: nn.Module) -> Sizes:
    rows, columns = _weight(module).shape
    return {"out_features": rows, "in_features": columns}


def _convolution(module: nn.Module) -> Sizes:
    first, second = _weight(module).shape[:2]
    groups, transposed = int(module.groups), bool(module.transposed)  # type: ignore[arg-type]
    read, written = (first, second * groups) if transposed else (second * groups, first)
    return {"in_channels": read, "out_channels": written}


def _batch_norm(module: nn.Module) -> Sizes:
    vectors = [getattr(module, name) for name in ("weight", "bias", "running_mean")]
    return next(({"num_features": len(v)} for v in vectors if v is not None), {})


def _group_norm(module: nn.Module) -> Sizes:
    return {} if module.weight is None else {"num_channels": len(_weight(module))}


def _trailing_norm(module: nn.Module) -> Sizes:
    return {} if module.weight is None else {"normalized_shape": tuple(_weight(module).shape)}


def _prelu(module: nn.Module) -> Sizes:
    return {"num_parameters": len(_weight(module))}


def _embedding(module: nn.Module) -> Sizes:
    rows, columns = _weight(module).shape
    return {"num_embeddings": rows, "embedding_dim": columns}


def _recurrent(module: nn.Module) -> Sizes:
    first: Tensor = module.weight_ih_l0  # type: ignore[assignment]
    second: Tensor = module.weight_hh_l0  # type: ignore[assignment]
    if not module.proj_size:
        return {"input_size": first.shape[1], "hidden_size": second.shape[1]}
    projection: Tensor = module.weight_hr_l0  # type: ignore[assignment]
    projected, hidden = projection.shape
    return {"input_size": first.shape[1], "hidden_size": hidden, "proj_size": projected}


def _cell(module: nn.Module) -> Sizes:
    first: Tensor = module.weight_ih  # type: ignore[assignment]
    second: Tensor = module.weight_hh  # type: ignore[assignment]
    return {"input_size": first.shape[1], "hidden_size": second.shape[1]}


def _bilinear(module: nn.Module) -> Sizes:
    written, first, second = _weight(module).shape
    return {"in1_features": first, "in2_features": second, "out_features": written}


def _weight(module: nn.Module) -> Tensor:
    # The older weight norm, spectral norm and pruning leave the last weight that they computed.
    for name in ("weight_v", "weight_orig"):
        held = module._parameters.get(name)
        if held is not None:
            return held
    # In train mode, computing a weight may change buffers: spectral norm takes a step.
    parts = list(module.parametrizations.modules()) if is_parametrized(module) else []  # type: ignore[union-attr]
    originals: list[Tensor] = [p for part in parts for p in part.parameters(recurse=False)]
    if not all(p.numel() for p in originals):
        # Nothing computes with an emptied weight, and torch does not survive computing it.
        return max(originals, key=lambda p: p.shape[1:].numel())
    training = [part.training for part in parts]
    for part in parts:
        part.training = False
    weight: Tensor = module.weight  # type: ignore[assignment]
    for part, flag in zip(parts, training, strict=True):
        part.training = flag
    return weight


_SIZES: dict[type[nn.Module], Callable[[nn.Module], Sizes]] = {
    nn.Linear: _linear,
    _ConvNd: _convolution,
    _NormBase: _batch_norm,
    nn.Embedding: _embedding,
    nn.EmbeddingBag: _embedding,
    nn.Bilinear: _bilinear,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _trailing_norm,
    nn.RMSNorm: _trailing_norm,
    nn.PReLU: _prelu,
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: _cell,
}
