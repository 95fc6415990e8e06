"""Caches: what a decoder returns so that its next call need not compute the past again.

A cache is no result: it is read by the next call only. So what a model computes is what it returns
beside the cache, and what one more call returns with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs

_CACHES = ("past_key_values", "cache", "cache_params")
_TOKENS = ("decoder_input_ids", "input_ids", "decoder_inputs_embeds", "inputs_embeds")
_OF_ONE_CALL = ("labels", "position_ids", "decoder_position_ids", "cache_position")


def results(inputs: ExampleInputs, model: nn.Module) -> Any:
    """Run a model, and once more with the cache that it returns, if it returns one.

    Args:
        inputs: arguments for the model.
        model: any module.

    Returns:
        What it returned; with a cache, what it returned beside that in both calls.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
    """
    output = inputs(model)
    if any(isinstance(leaf, Iterator) for leaf in tree_leaves(output)):
        raise ExampleInputsError(
            f"Expected `{type(model).__name__}.{inputs.method}` to return what it computes, but "
            "got an iterator, which computes later. Return a list."
        )
    cache = _cache_in(output)
    following = None if cache is None else _next_call(inputs, model, cache)
    if following is None:
        return output
    try:
        return _without_cache(output), _without_cache(following(model))
    except ExampleInputsError:  # it takes more than was told by names: then the cache is a result
        return output


def _cache_in(output: Any) -> Any:
    """Return the cache in what a model returned, None if there is none."""
    if isinstance(output, Mapping):
        return next((output[key] for key in _CACHES if output.get(key) is not None), None)
    parts = output if isinstance(output, tuple) else ()
    return next((part for part in parts if _is_cache(part)), None)


def _without_cache(output: Any) -> Any:
    if isinstance(output, Mapping):
        return {key: value for key, value in output.items() if key not in _CACHES}
    return tuple(part for part in output if not _is_cache(part))


def _is_cache(part: Any) -> bool:
    return type(part).__name__.endswith("Cache")


def _next_call(inputs: ExampleInputs, model: nn.Module, cache: Any) -> ExampleInputs | None:
    """Return the call for one more token, None if the model's arguments do not tell how."""
    signature = inspect.signature(getattr(model, inputs.method))
    takes = next((name for name in _CACHES if name in signature.parameters), None)
    given = dict(signature.bind_partial(*inputs.args, **inputs.kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= given.pop(parameter.name, {})
    tokens = next((name for name in _TOKENS if isinstance(given.get(name), Tensor)), None)
    if takes is None or tokens is None or given.get(takes) is not None:
        return None
    mask = "decoder_attention_mask" if tokens.startswith("decoder") else "attention_mask"
    following = {name: value for name, value in given.items() if name not in _OF_ONE_CALL}
    following[tokens] = given[tokens][:, -1:]
    if isinstance(given.get(mask), Tensor):
        following[mask] = torch.cat([given[mask], given[mask][..., -1:]], -1)
    return replace(inputs, args=(), kwargs=following | {takes: cache})
