"""What only other inputs run is recorded once they refute a removal."""

import copy

import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.granularities import Channel


class Shifted(nn.Module):
    """Moves its channels about, by a number that is written down, on long inputs only."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        if x.shape[1] > 5:
            y = y.reshape(x.shape[0], x.shape[1], 8).relu()
        return self.last(y)


def test_a_size_on_a_path_for_long_inputs_is_brought_up_to_date() -> None:
    torch.manual_seed(0)
    model, x = Shifted(), torch.randn(2, 4, 3)
    lp.prune(model, x, sparsity=0.5, criterion=lp.Magnitude(), granularity=Channel())
    masked = copy.deepcopy(model)
    report = lp.compact(model, x, latency=False)
    assert report.refused == {}
    assert model.first.out_features < 8
    for length in (1, 4, 6, 11):
        y = torch.randn(3, length, 3)
        assert torch.allclose(model(y), masked(y), atol=1e-6)
