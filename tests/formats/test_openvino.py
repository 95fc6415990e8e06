import pytest
import torch
from torch import nn

from lightning_prune.formats.openvino import OpenVino
from lightning_prune.formats.program import Exportable

openvino = pytest.importorskip("openvino")
pytestmark = pytest.mark.filterwarnings("ignore")  # the converter warns of itself


def test_inputs_and_outputs_have_their_names_and_sizes(tmp_path):
    path = tmp_path / "small.xml"
    OpenVino().write(Exportable.of(nn.Linear(4, 3), torch.randn(2, 4)), path)
    model = openvino.Core().read_model(path)
    assert model.input("input").partial_shape == openvino.PartialShape([-1, 4])
    assert model.output("output").partial_shape == openvino.PartialShape([-1, 3])
    assert [file.name for file in OpenVino().files(path)] == ["small.xml", "small.bin"]
