import pytest
import torch
from torch import nn

from lightning_prune.export.executorch import ExecuTorch
from lightning_prune.export.program import Exportable

pytest.importorskip("executorch")
pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter warns of itself


def test_there_is_room_for_twice_the_batch_of_the_example_and_at_least_eight(tmp_path):
    path = tmp_path / "small.pte"
    # Of more than 2**15 numbers kernels take another way: the range must not end there.
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for batch, room in ((2, 8), (20, 40)):
        ExecuTorch().write(Exportable.of(net, torch.randn(batch, 3, 18, 18)), path)
        run = ExecuTorch().load(path)
        for rows in (1, room):
            x = torch.randn(rows, 3, 18, 18)
            torch.testing.assert_close(run({"input": x})[0], net(x))
