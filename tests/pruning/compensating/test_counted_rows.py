"""Rows that nothing reads do not count in a fit; any doubt lets all count."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.modules.fast_paths import no_fast_paths
from lightning_prune.pruning.compensating.batches import runs_on
from lightning_prune.pruning.compensating.counted_rows import CountedRows, rows_that_count

LENGTHS = [5, 2, 3]
READER = "layer.linear2.weight"


class Sentences(nn.Module):
    """A layer of attention over padded sentences; the mean of what is none."""

    def __init__(self, pool: str = "mean") -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True)
        self.pool = pool

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        states = self.layer(x, src_key_padding_mask=hidden)
        if self.pool == "all":
            return states
        if self.pool == "max":
            return states.amax(1)
        weights = (~hidden).unsqueeze(-1).to(states)
        return (states * weights).sum(1) / weights.sum(1)


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.arange(5) >= torch.tensor(LENGTHS)[:, None]
    return {"x": torch.randn(3, 5, 8, generator=generator), "hidden": hidden}


def found(model: nn.Module, data: Any, name: str = READER) -> list[list[bool]]:
    with no_fast_paths():
        rows = rows_that_count(model.eval(), [name], runs_on([data], None))
    return [mask.tolist() for masks in rows[0].values() for mask in masks]


def test_padding_does_not_count() -> None:
    torch.manual_seed(0)
    assert found(Sentences(), batch()) == [(~batch()["hidden"]).flatten().tolist()]
    name = "layer.self_attn.out_proj.weight"
    assert found(Sentences(), batch(), name) == [(~batch()["hidden"]).T.flatten().tolist()]


@pytest.mark.parametrize("pool", ["all", "max"])
def test_what_is_returned_or_might_be_counts(pool: str) -> None:
    torch.manual_seed(0)
    assert found(Sentences(pool), batch()) == []  # of a maximum most have no gradient


def test_the_loss_says_what_is_read() -> None:
    torch.manual_seed(0)

    def loss(model: nn.Module, data: Any) -> Tensor:
        return model(**data)[~data["hidden"]].square().mean()

    with no_fast_paths():
        rows = rows_that_count(Sentences("all").eval(), [READER], runs_on([batch()], loss))
    assert [m.sum() for masks in rows[0].values() for m in masks] == [sum(LENGTHS)]


def test_nothing_is_looked_for_where_a_row_is_an_example() -> None:
    calls = []
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    model.register_forward_hook(lambda *args: calls.append(1))
    runs = runs_on([torch.randn(6, 4)] * 3, None)
    assert rows_that_count(model, ["2.weight"], runs) == [{}, {}, {}]


def test_without_gradients_all_count() -> None:
    class Detached(Sentences):
        def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
            return super().forward(x, hidden).detach()

    assert found(Detached(), batch()) == []


def test_a_fit_on_padded_sentences_is_one_on_sentences_alone() -> None:
    torch.manual_seed(0)
    padded, alone = Sentences().eval(), Sentences().eval()
    alone.load_state_dict(padded.state_dict())
    data = batch()
    apart = [
        {"x": x[None, :n], "hidden": torch.zeros(1, n, dtype=torch.bool)}
        for x, n in zip(data["x"], LENGTHS, strict=True)
    ]
    prune = partial(
        lp.prune,
        sparsity=0.5,
        of="units",
        criterion=lp.Magnitude(),
        include=["layer.linear1"],
        compensation=lp.LeastSquares(),
    )
    prune(padded, data, batches=[data])
    prune(alone, data, batches=apart)
    for mine, theirs in zip(padded.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_of_a_call_that_is_not_known_all_count() -> None:
    assert CountedRows({}).next("weight") is None  # type: ignore[arg-type]
