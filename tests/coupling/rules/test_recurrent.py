"""Recurrent layers lose hidden units: one index for all gates, layers and directions."""

import pytest
import torch
from nets import Net, Whole
from torch import nn


def reader(make, *, first=None, forward=None, width=8):
    """A recurrent layer (3 → 8) between an optional layer and a linear head."""

    def plain(m, x):
        return m.head(m.rnn(m.first(x))[0])

    return lambda: Net(
        forward or plain,
        first=first or nn.Identity(),
        rnn=make(),
        head=nn.Linear(width, 2),
    )


def cell(suffix: str, *, reads: bool = True) -> str:
    names = [f"rnn.weight_ih_{suffix}[0]", f"rnn.weight_hh_{suffix}[0]"]
    names += [f"rnn.weight_hh_{suffix}[1]", f"rnn.bias_ih_{suffix}[0]", f"rnn.bias_hh_{suffix}[0]"]
    return " ".join(names + [f"rnn.weight_ih_{suffix}[1]"] * reads)


def group(*parts: str) -> str:
    return " ".join(sorted(" ".join(parts).split()))


ONE = {group(cell("l0", reads=False), "head.weight[1]"): 8}
SEQUENCE = ((2, 5, 3),)
ROWS = {
    "lstm": Whole(reader(lambda: nn.LSTM(3, 8, batch_first=True)), SEQUENCE, ONE),
    "gru": Whole(reader(lambda: nn.GRU(3, 8, batch_first=True)), SEQUENCE, ONE),
    "rnn_tanh": Whole(reader(lambda: nn.RNN(3, 8)), SEQUENCE, ONE),
    "rnn_relu": Whole(reader(lambda: nn.RNN(3, 8, nonlinearity="relu")), SEQUENCE, ONE),
    "without_biases": Whole(
        reader(lambda: nn.GRU(3, 8, bias=False)),
        SEQUENCE,
        {"head.weight[1] rnn.weight_hh_l0[0] rnn.weight_hh_l0[1] rnn.weight_ih_l0[0]": 8},
    ),
    "layers_share_the_index": Whole(
        reader(lambda: nn.LSTM(3, 8, num_layers=2)),
        SEQUENCE,
        {group(cell("l0", reads=False), cell("l1"), "head.weight[1]"): 8},
    ),
    "directions_share_the_index": Whole(
        reader(lambda: nn.LSTM(3, 8, bidirectional=True), width=16),
        SEQUENCE,
        {group(cell("l0", reads=False), cell("l0_reverse", reads=False), "head.weight[1]"): 8},
    ),
    "what_it_reads": Whole(
        reader(lambda: nn.GRU(6, 8), first=nn.Linear(3, 6)),
        SEQUENCE,
        ONE | {"first.bias[0] first.weight[0] rnn.weight_ih_l0[1]": 6},
    ),
    "the_last_state": Whole(
        reader(lambda: nn.LSTM(3, 8), forward=lambda m, x: m.head(m.rnn(x)[1][0][-1])),
        SEQUENCE,
        ONE,
    ),
    "the_last_cell": Whole(
        reader(lambda: nn.LSTM(3, 8), forward=lambda m, x: m.head(m.rnn(x)[1][1][-1])),
        SEQUENCE,
        ONE,
    ),
    "a_state_from_outside_stays": Whole(
        reader(lambda: nn.GRU(3, 8), forward=lambda m, x, h: m.head(m.rnn(x, h)[0])),
        ((2, 5, 3), (1, 5, 8)),
        {},
        {"rnn.weight_hh_l0[0]": "initial state"},
    ),
    "projections_stay": Whole(
        reader(lambda: nn.LSTM(3, 8, proj_size=4), width=4),
        SEQUENCE,
        {},
        {"rnn.weight_hh_l0[0]": "with projections"},
    ),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_recurrent(row: Whole) -> None:
    row.check()


def test_packed_sequences_stay() -> None:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4, 3]), batch_first=True)
        return m.head(m.rnn(packed)[1][0][-1])

    Whole(
        reader(lambda: nn.LSTM(3, 8, batch_first=True), forward=forward),
        ((2, 4, 3),),
        {},
        {"rnn.weight_hh_l0[0]": "packed sequences"},
    ).check()
