import onnx
import pytest
import torch
from torch import nn

from lightning_prune.formats.onnx import Onnx
from lightning_prune.formats.program import Exportable

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter warns of itself


def test_inputs_outputs_and_the_batch_have_their_names(tmp_path):
    path = tmp_path / "small.onnx"
    Onnx().write(Exportable.of(nn.Linear(4, 3), torch.randn(2, 4)), path)
    graph = onnx.load(path).graph
    (given,), (returned,) = graph.input, graph.output
    assert (given.name, returned.name) == ("input", "output")
    sizes = given.type.tensor_type.shape.dim
    assert sizes[0].dim_param in {"batch", "s0"}  # older torch calls it s0
    assert sizes[1].dim_value == 4


def test_weights_beside_the_graph_belong_to_the_model(tmp_path):
    path = tmp_path / "large.onnx"
    assert Onnx().files(path) == [path]
    (tmp_path / "large.onnx.data").touch()
    assert Onnx().files(path) == [path, tmp_path / "large.onnx.data"]
