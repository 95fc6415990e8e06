"""A correction stands in only for calls of torch's functions and of methods of tensors."""

import ast
import subprocess
import types

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import reshape as fold

from lightning_prune.compaction.rewriting.callees import called_name, require_call
from lightning_prune.compaction.rewriting.source import Source
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import (
    ArgumentPin,
    PinArguments,
    RescaleMean,
    Resize,
    Resplit,
    SizeFactor,
    WidenLayerNorm,
)

api = types.SimpleNamespace(reshape=lambda *sizes: sizes)
RESIZE = Resize((SizeFactor(0, 1, 2),))
PIN = PinArguments((ArgumentPin(2, 1, "other", 0),))


def calls(x: Tensor) -> None:
    x.view(2)
    x.add_(2)
    fold(x, (2,))
    torch.zeros(2)
    F.layer_norm(x, (2,))
    Tensor.expand(x, 2)
    torch.ops.aten.view(x, [2])
    api.reshape(2)
    subprocess.run(["split"])
    x.run(2)
    print(2)
    F.normalize(x)


SOURCE = Source(calls, calls)
CALLS = [node for node in ast.walk(SOURCE.tree) if isinstance(node, ast.Call)][:12]
NAMED = {ast.unparse(call.func): call for call in CALLS}


@pytest.mark.parametrize(
    ("name", "correction"),
    [
        ("x.view", RESIZE),
        ("fold", RESIZE),
        ("torch.zeros", RESIZE),
        ("Tensor.expand", RESIZE),
        ("torch.ops.aten.view", RESIZE),
        ("F.layer_norm", WidenLayerNorm(8)),
        ("x.add_", PIN),
    ],
)
def test_it_fits_a_call_of_its_operation(name, correction):
    assert require_call(SOURCE, NAMED[name], correction) is None  # it is not refused


@pytest.mark.parametrize(
    ("name", "correction"),
    [
        ("api.reshape", RESIZE),
        ("subprocess.run", Resplit((1, 2))),
        ("subprocess.run", PIN),
        ("x.run", PIN),
        ("print", PIN),
        ("F.normalize", PIN),
        ("x.view", RescaleMean(0.5)),
        ("F.layer_norm", RESIZE),
    ],
)
def test_it_fits_no_other_call(name, correction):
    with pytest.raises(RewriteError, match=r"does not fit"):
        require_call(SOURCE, NAMED[name], correction)


def test_the_name_is_that_of_the_functions_own_module():
    assert called_name(SOURCE, NAMED["fold"]) == "reshape"
    assert called_name(SOURCE, NAMED["x.view"]) == "view"
