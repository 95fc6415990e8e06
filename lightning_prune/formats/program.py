"""What is exported: a copy of the model on the CPU, an example, and the program made of both.

Every format starts from the same `torch.export` program, in eval mode, in the model's own floating
type. The size of the batch stays open wherever the model's code leaves it open.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import BoundArguments, Signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map

from lightning_prune.errors import ExportError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.nesting import map_tensors, tensors_in
from lightning_prune.modules.twin import twin

log = logging.getLogger(__name__)

_ANY_BATCH = 2**31 - 1
"""Without a bound, torch 2.6 takes the size with which recurrent layers compare for one of them."""


@dataclass(frozen=True, eq=False)
class Exportable:
    """A model with an example of its inputs, ready to be written in any format.

    Args:
        model: a copy on the CPU, in eval mode; its ``forward`` is the method that is exported, with
            the arguments that hold no tensor.
        inputs: the others, in the order of the method's parameters.
        program: what `torch.export` makes of it.
        shapes: of the tensors among the inputs, None for the size of a batch that is open. They are
            named by their parameters, with the position or key where one holds several.
        output_names: one for each tensor that is returned: ``"output"``, with its position or key
            where there are several.
        calibration: arguments from which a quantiser learns the ranges of values.
    """

    model: nn.Module
    inputs: ExampleInputs
    program: ExportedProgram
    shapes: Mapping[str, tuple[int | None, ...]]
    output_names: tuple[str, ...]
    calibration: tuple[ExampleInputs, ...] = ()

    @property
    def dynamic(self) -> bool:
        """Whether the program takes any batch size."""
        return any(None in shape for shape in self.shapes.values())

    @classmethod
    def of(
        cls, model: nn.Module, example_inputs: Any, calibration: Iterable[Any] = ()
    ) -> Exportable:
        """Copy and trace a model.

        Args:
            model: any module; it stays as it is.
            example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, or a
                `Call` of another method.
            calibration: more of them.

        Returns:
            What formats write.

        Raises:
            ExampleInputsError: if the model does not run on the inputs.
            ExportError: if `torch.export` does not follow the model.
        """
        copied = twin(model).eval().cpu()
        inputs = ExampleInputs.of(example_inputs).on(copied)
        with torch.no_grad():
            output = inputs(copied)
        method = getattr(copied, inputs.method)
        signature = inspect.signature(method)
        constants = _bound(signature, inputs, tensors=False)
        inputs = _of_tensors(signature, inputs)
        if constants.arguments or method != copied.forward:
            vars(copied)["forward"] = _with(constants, method)
        try:
            # A batch of 1 would be taken for a constant.
            program = _trace(copied, inputs.resized(max(2, inputs.batch_size)), _ANY_BATCH)
        except Exception as error:  # whatever torch raises where code or a guard fixes the size
            log.info("%s is exported at a fixed batch size: %s", type(model).__name__, error)
            program = _trace_fixed(copied, inputs)
        given = [ExampleInputs.of(one).on(copied) for one in calibration]
        batches = tuple(_of_tensors(signature, one) for one in given)
        names = _output_names(program, output)
        return cls(copied, inputs, program, _shapes(program), names, batches)

    def named(self, inputs: ExampleInputs) -> dict[str, Tensor]:
        """Return the tensors among arguments by the names of the program's inputs.

        Raises:
            ValueError: if there are more or fewer than in the example.
        """
        if len(inputs.tensors) != len(self.shapes):
            raise ValueError(
                f"Expected `calibration` to hold what `example_inputs` holds, {list(self.shapes)}, "
                f"but got {len(inputs.tensors)} tensors. Pass batches in the same form."
            )
        return dict(zip(self.shapes, inputs.tensors, strict=True))

    def program_up_to(self, batch_size: int) -> ExportedProgram:
        """Return the program for batches of up to ``batch_size``, where they are not fixed."""
        if not self.dynamic:
            return self.program
        # Guards keep the size that is traced in the range; one more, lest it is all that they keep.
        return _trace(self.model, self.inputs.resized(batch_size), batch_size + 1)


def _with(constants: BoundArguments, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method with some of its arguments; unlike a `partial`, older torch exports it."""
    bound = partial(method, *constants.args, **constants.kwargs)

    def forward(*args: Any, **kwargs: Any) -> Any:
        return bound(*args, **kwargs)

    vars(forward)["__signature__"] = inspect.signature(bound)
    return forward


def _trace(model: nn.Module, inputs: ExampleInputs, max_batch: int) -> ExportedProgram:
    batch, full = Dim("batch", min=1, max=max_batch), inputs.batch_size

    def dimensions(leaf: Any) -> dict[int, Any] | None:
        is_batch = isinstance(leaf, Tensor) and leaf.dim() and leaf.shape[0] == full
        return {0: batch} if is_batch else None

    bound = inspect.signature(model.forward).bind(*inputs.args, **inputs.kwargs)
    return _export(model, inputs, tree_map(dimensions, dict(bound.arguments)))


def _trace_fixed(model: nn.Module, inputs: ExampleInputs) -> ExportedProgram:
    try:
        return _export(model, inputs, None)
    except Exception as error:  # whatever torch raises
        raise ExportError(
            f"Expected `model` to be one that `torch.export` follows, but {type(model).__name__} "
            f"raised {type(error).__name__}: {error}. Every format starts from its program."
        ) from error


def _export(model: nn.Module, inputs: ExampleInputs, shapes: Any) -> ExportedProgram:
    program = torch.export.export(
        model, inputs.args, inputs.kwargs, dynamic_shapes=shapes, strict=False
    )
    # Files keep them; they are to ship without rows of the training data.
    program.example_inputs = map_tensors(program.example_inputs, torch.zeros_like)
    return program


def _of_tensors(signature: Signature, inputs: ExampleInputs) -> ExampleInputs:
    """Return the arguments that hold tensors, in the order of the parameters, on the CPU."""
    bound = _bound(signature, inputs, tensors=True)
    return ExampleInputs(bound.args, bound.kwargs).map(lambda t: t.detach().cpu())


def _bound(signature: Signature, inputs: ExampleInputs, *, tensors: bool) -> BoundArguments:
    """Return the arguments that hold tensors, or the others."""
    bound = signature.bind(*inputs.args, **inputs.kwargs)
    for name, value in list(bound.arguments.items()):
        if bool(tensors_in(value)) != tensors:
            del bound.arguments[name]
    return bound


def _shapes(program: ExportedProgram) -> dict[str, tuple[int | None, ...]]:
    specs = program.graph_signature.input_specs
    given = [spec.arg for spec in specs if spec.kind is InputKind.USER_INPUT]
    values = {
        node.name: node.meta.get("val") for node in program.graph.find_nodes(op="placeholder")
    }
    return {
        arg.name: tuple(size if isinstance(size, int) else None for size in values[arg.name].shape)
        for arg in given
        if isinstance(arg, TensorArgument)
    }


def _output_names(program: ExportedProgram, output: Any) -> tuple[str, ...]:
    specs = program.graph_signature.output_specs
    count = sum(
        spec.kind is OutputKind.USER_OUTPUT and isinstance(spec.arg, TensorArgument)
        for spec in specs
    )
    leaves = tree_flatten_with_path(output)[0]
    names = [re.sub(r"\W+", "_", f"output{keystr(path)}").rstrip("_") for path, _ in leaves]
    found = [name for name, (_, leaf) in zip(names, leaves, strict=True) if torch.is_tensor(leaf)]
    return tuple(found) if len(found) == count else tuple(f"output_{i}" for i in range(count))
