from collections import Counter

import onnx
import pytest
import torch
from torch import nn

from lightning_prune.formats.int8 import DynamicInt8, StaticInt8
from lightning_prune.formats.program import Exportable

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter warns of itself

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.Flatten(), nn.Linear(1024, 9)
    return nn.Sequential(*layers)


def operations(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_static_scales_make_every_layer_small(tmp_path):
    path = tmp_path / "small.onnx"
    exportable = Exportable.of(net(), X, [X, X * 2])
    StaticInt8().write(exportable, path)
    size = sum(p.numel() for p in exportable.model.parameters())
    assert size < path.stat().st_size < 1.5 * size  # one byte each
    assert operations(path)["QuantizeLinear"] >= 3


def test_dynamic_scales_leave_convolutions_alone(tmp_path):
    path = tmp_path / "small.onnx"
    DynamicInt8().write(Exportable.of(net(), X), path)
    found = operations(path)
    assert (found["Conv"], found["ConvInteger"], found["MatMulInteger"]) == (2, 0, 1)


def test_the_ranges_are_those_of_the_calibration(tmp_path):
    run = {}
    for name, batches in {"narrow": [X / 100], "as wide": [X]}.items():
        path = tmp_path / f"{name}.onnx"
        exportable = Exportable.of(net(), X, batches)
        StaticInt8().write(exportable, path)
        (output,) = StaticInt8().load(path)(exportable.named(exportable.inputs))
        run[name] = (output - exportable.model(X)).abs().max().item()
    assert run["narrow"] > 5 * run["as wide"]
