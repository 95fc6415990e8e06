"""MACs: multiply-adds of one forward pass.

torch's own flop counter counts matrix products, convolutions and attention. It does not count what
costs little in comparison: element-wise operations, normalisations, pooling, softmax, embeddings;
nor the rare products for which it has no formula (`nn.Bilinear`, `torch.cdist`, matrix-vector
products).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.backends import cudnn, mkldnn
from torch.utils.flop_counter import FlopCounterMode

from lightning_prune.arguments import check_model
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.fast_paths import composite_operations, no_fast_paths
from lightning_prune.modules.inputs import ExampleInputs, examples_of
from lightning_prune.modules.outlining import NumbersNeededError, Outlining, Watching, can_outline
from lightning_prune.modules.switch import Switch
from lightning_prune.modules.twin import clone, twin

log = logging.getLogger(__name__)


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *options: Any, **keywords: Any
) -> int:
    # y[b, h, q, v] = softmax(query[b, h, q, d] key[b, h, k, d]) value[b, h, k, v]
    return 2 * query[:-1].numel() * key[-2] * (query[-1] + value[-1])


# Older releases of the counter (2.7 for one) know every attention kernel but the CPU's.
_FORMULAS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


def count_macs(model: nn.Module, example_inputs: Any) -> int:
    """Count the multiply-adds of one run in eval mode.

    Zeros count like any other weight: only a compact model has fewer MACs.

    Args:
        model: any module; it stays as it is.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, a `Call`,
            or a list of several examples, whose counts are added; the count is for this batch.

    Returns:
        Multiply-adds, half of what torch counts as FLOPs.

    Raises:
        TypeError: if ``model`` is no module.
        ExampleInputsError: if the model does not run on the inputs.

    Example:
        >>> count_macs(nn.Linear(16, 32), torch.zeros(1, 16)) == 1 * 16 * 32
        True
    """
    check_model(model)
    # Hooks of the counter fail on views of parameters that require gradients.
    measured = clone(model).eval()
    for parameter in measured.parameters():  # one by one: a scripted module has no method for it
        parameter.requires_grad_(False)
    examples = [inputs.on(measured) for inputs in examples_of(example_inputs)]
    tensors = [tensor for inputs in examples for tensor in inputs.tensors]
    with counting(tensors) as counter:
        for inputs in examples:
            inputs.map(torch.clone)(measured)
    return int(counter.get_total_flops()) // 2


def macs_by_shapes(model: nn.Module, example_inputs: Any) -> int:
    """Count the same without the numbers that these compute, where none decides what runs.

    For models that were recorded already: what code outside of the model keeps of its first run, it
    has kept then.

    Args:
        model: as in `count_macs`.
        example_inputs: as in `count_macs`.

    Returns:
        Multiply-adds.

    Raises:
        TypeError: if ``model`` is no module.
        ExampleInputsError: if the model does not run on the inputs.
    """
    check_model(model)
    examples = [inputs.on(model) for inputs in examples_of(example_inputs)]
    if can_outline(model, [tensor for inputs in examples for tensor in inputs.tensors]):
        try:
            found = _by_shapes(twin(model).eval(), examples)
        except (NumbersNeededError, ExampleInputsError) as error:
            log.debug("%s is counted with numbers: %s", type(model).__name__, error)
        else:
            if found:  # older counters see nothing there
                return found
    return count_macs(model, example_inputs)


def _by_shapes(model: nn.Module, examples: Sequence[ExampleInputs]) -> int:
    outlining = Outlining(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    tensors = [tensor for inputs in examples for tensor in inputs.tensors]
    outlining.follow(tensors)
    with (
        composite_operations(),
        outlining,
        counting(tensors) as counter,
        Watching(outlining),
    ):
        for inputs in examples:
            inputs.map(torch.clone)(model)
    outlining.finish()
    return int(counter.get_total_flops()) // 2


@contextmanager
def counting(tensors: Sequence[Tensor]) -> Iterator[FlopCounterMode]:
    """Count what runs meanwhile, without gradients and without a trace in random numbers.

    Args:
        tensors: what it runs on; parameters must not require gradients.

    Yields:
        torch's counter, of two FLOPs for every multiply-add.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    devices = {t.device for t in tensors} - {torch.device("cpu")}
    rng_type = next((d.type for d in devices), "cuda")
    # no_grad and not inference_mode: under that, older counters see nothing at all.
    with (
        torch.random.fork_rng(devices, device_type=rng_type),
        torch.no_grad(),
        _visible_products(),
        counter,
    ):
        yield counter


@contextmanager
def _unfused() -> Iterator[None]:
    before = mkldnn.enabled, cudnn.enabled
    mkldnn.enabled = False  # type: ignore[assignment]  # a descriptor on the module's class
    cudnn.enabled = False
    try:
        yield
    finally:
        mkldnn.enabled, cudnn.enabled = before


_no_fused_layers = Switch(_unfused)


@contextmanager
def _visible_products() -> Iterator[None]:
    """Turn off what hides matrix products from the counter: fused kernels and compiled code.

    Measured: an LSTM counts 0 under oneDNN and cuDNN, a TransformerEncoderLayer 0 on its fast path.
    """
    with (
        no_fast_paths(),
        _no_fused_layers(),
        torch.compiler.set_stance("force_eager"),
        warnings.catch_warnings(),
    ):
        # The counter's module hooks are global, at which compiled modules warn.
        warnings.filterwarnings("ignore", message="Using `torch.compile")
        yield
