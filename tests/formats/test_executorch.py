import pytest
import torch
from torch import Tensor, nn

from lightning_prune.formats.executorch import ExecuTorch
from lightning_prune.formats.program import Exportable

pytest.importorskip("executorch")
pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter warns of itself


class Residual(nn.Module):
    """A sum of more than 2**15 numbers, from where on torch takes another way, at some batches."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 128, 3, 2, 1)
        self.second = nn.Conv2d(128, 128, 3, 1, 1)
        self.head = nn.Linear(128, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.head((y + self.second(y)).mean((2, 3)))


@pytest.mark.parametrize(("batch", "room"), [(2, 8), (8, 16), (20, 40)])
def test_there_is_room_for_twice_the_batch_of_the_example_and_at_least_eight(batch, room, tmp_path):
    path = tmp_path / "small.pte"
    net = Residual()
    ExecuTorch().write(Exportable.of(net, torch.randn(batch, 3, 8, 8)), path)
    run = ExecuTorch().load(path)
    for rows in (1, batch, room):
        x = torch.randn(rows, 3, 8, 8)
        torch.testing.assert_close(run({"x": x})[0], net(x))
