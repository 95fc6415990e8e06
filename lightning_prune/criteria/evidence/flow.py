"""The flow through a network: gradients of its summed outputs with all weights positive.

It runs on a copy in double precision; the model is left as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.criteria.evidence.base import Evidence
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs, output_tensors
from lightning_prune.modules.kernels import differentiable
from lightning_prune.modules.names import parameters_by_any_name
from lightning_prune.modules.twin import twin


class Flow(Evidence):
    """The gradient of the summed outputs by the absolute weights, for an input of ones.

    It takes example inputs and no data.
    """

    name: ClassVar[str] = "flow"
    needs_examples: ClassVar[bool] = True

    @override
    def observed(self) -> list[Tensor]:
        """Return the gradients."""
        subject = self.subject
        flow = flow_gradients(subject.model, subject.examples, list(subject.weights))
        return [flow[name] for name in subject.weights]


def flow_gradients(
    model: nn.Module, examples: Sequence[ExampleInputs], names: Collection[str]
) -> dict[str, Tensor]:
    r"""Return the gradients of the flow by the absolute weights.

    .. math:: R = \mathbb{1}^\top f(\mathbb{1}; |w|)

    Args:
        model: any module; it runs in eval mode.
        examples: arguments for its methods, whose flows are added; of their floating tensors only
            the shapes matter.
        names: the parameters whose gradients are asked for.

    Returns:
        Gradients in float64, by name, divided by the largest of all: a deep network's flow is
        beyond the range of float32. Zeros where nothing flows.

    Raises:
        ExampleInputsError: if the model returns nothing to sum, or does not run on the inputs.
    """
    positive = twin(model, torch.float64).eval()
    with torch.no_grad():
        for tensor in (*positive.parameters(), *positive.buffers()):
            if tensor.is_floating_point():
                tensor.data = tensor.data.abs()  # not in place: a twin shares its memory
    parameters = parameters_by_any_name(positive)
    chosen = [parameters[name].requires_grad_(True) for name in names]
    with torch.enable_grad(), differentiable(positive):
        outputs = [t for e in examples for t in output_tensors(_of_ones(e, positive)(positive))]
        if not any(output.requires_grad for output in outputs):
            raise ExampleInputsError(
                "Expected the model to return something that depends on its weights, but got "
                f"{len(outputs)} tensors that do not. Pass the inputs of one real forward pass."
            )
        flow = torch.stack([o.real.sum() for o in outputs if o.requires_grad]).sum()
        found = torch.autograd.grad(flow, chosen, allow_unused=True)
    gradients = [
        torch.zeros_like(p) if g is None else g for g, p in zip(found, chosen, strict=True)
    ]
    largest = torch.stack([g.abs().amax() for g in gradients]).amax()
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))
    return dict(zip(names, [g / scale for g in gradients], strict=True))


def _of_ones(inputs: ExampleInputs, model: nn.Module) -> ExampleInputs:
    """Return one example of the batch for ``model``, with ones in place of real numbers."""
    small = inputs.narrowed(1).on(model)
    return small.map(lambda t: torch.ones_like(t) if t.is_floating_point() else t)
