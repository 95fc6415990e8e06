import torch
from torch import Tensor, nn

from lightning_prune.formats.program import Exportable
from lightning_prune.formats.torch_export import TorchExport


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, pair: tuple[Tensor, Tensor], *, shift: int, bias: Tensor) -> Tensor:
        return self.layer(pair[0] - pair[1]) + shift + bias


def test_nested_and_named_arguments_find_their_way(tmp_path):
    model, (a, b, bias) = Net(), torch.randn(3, 2, 4).unbind()
    inputs = {"pair": (a, b), "shift": 2, "bias": bias[:, :3]}
    path = tmp_path / "small.pt2"
    TorchExport().write(Exportable.of(model, inputs), path)
    run = TorchExport().load(path)
    (output,) = run({"pair_0": a, "pair_1": b, "bias": bias[:, :3]})
    assert torch.equal(output, model(**inputs))
