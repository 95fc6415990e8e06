"""Recurrent layers lose hidden units: one index for all gates, layers and directions."""

import pytest
import torch
from support.nets import Net, Whole
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lightning_prune.coupling import couple
from lightning_prune.measure import count_macs


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


def gates(suffix: str) -> str:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return " ".join(f"rnn.{name}_{suffix}[0]" for name in names)


def stepped(make) -> Whole:
    """A cell, called in a loop."""

    def forward(m, x):
        state = None
        for step in x.unbind(1):
            state = m.cell(step, state)
        return m.head(state[0] if isinstance(state, tuple) else state)

    parts = "weight_ih[0] weight_hh[0] weight_hh[1] bias_ih[0] bias_hh[0]".split()
    return Whole(
        lambda: Net(forward, cell=make(3, 8), head=nn.Linear(8, 2)),
        SEQUENCE,
        {group("head.weight[1]", *(f"cell.{part}" for part in parts)): 8},
    )


SUFFIXES = ("l0", "l0_reverse", "l1", "l1_reverse")
ONE = {group(cell("l0", reads=False), "head.weight[1]"): 8}
SEQUENCE = ((2, 5, 3),)


def summed(steps: torch.Tensor, states: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return sums of the steps, and of the squares of the memory."""
    return steps.sum(-1) + states[1].square().sum(-1)


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
    "a_state_that_is_learned": Whole(
        lambda: Net(
            lambda m, x: m.head(m.rnn(x, m.start.expand(-1, x.shape[1], -1).contiguous())[0]),
            rnn=nn.GRU(3, 8),
            start=nn.Parameter(torch.randn(1, 1, 8)),
            head=nn.Linear(8, 2),
        ),
        SEQUENCE,
        {group(cell("l0", reads=False), "start[2]", "head.weight[1]"): 8},
    ),
    "states_computed_from_the_input": Whole(
        lambda: Net(
            lambda m, x: m.head(m.rnn(x, (m.h(x[:1]), m.c(x[:1]).sigmoid()))[0]),
            rnn=nn.LSTM(3, 8),
            h=nn.Linear(3, 8),
            c=nn.Linear(3, 8),
            head=nn.Linear(8, 2),
        ),
        SEQUENCE,
        {
            group(
                cell("l0", reads=False),
                "h.weight[0] h.bias[0] c.weight[0] c.bias[0]",
                "head.weight[1]",
            ): 8
        },
    ),
    "a_state_of_zeros": Whole(
        reader(
            lambda: nn.RNN(3, 8),
            forward=lambda m, x: m.head(m.rnn(x, x.new_zeros(1, x.shape[1], m.rnn.hidden_size))[0]),
        ),
        SEQUENCE,
        ONE,
    ),
    "projections": Whole(
        reader(lambda: nn.LSTM(3, 8, proj_size=4), width=4),
        SEQUENCE,
        {
            group(gates("l0"), "rnn.weight_hr_l0[1]"): 8,
            group("rnn.weight_hr_l0[0] rnn.weight_hh_l0[1] head.weight[1]"): 4,
        },
    ),
    "the_memory_behind_projections_fades_from_where_it_starts": Whole(
        lambda: Net(
            lambda m, x: summed(*m.rnn(x, (m.h(x[:1]), m.c(x[:1]).sigmoid()))),
            rnn=nn.LSTM(3, 8, proj_size=4),
            h=nn.Linear(3, 4),
            c=nn.Linear(3, 8),
        ),
        SEQUENCE,
        {group("rnn.weight_hr_l0[0] rnn.weight_hh_l0[1] h.weight[0] h.bias[0]"): 4},
        {"c.weight[0]": "reduced over a labelled dimension"},
    ),
    "projections_of_layers_in_both_directions": Whole(
        reader(lambda: nn.LSTM(3, 8, 2, proj_size=4, bidirectional=True), width=8),
        SEQUENCE,
        {
            group(*(gates(s) + f" rnn.weight_hr_{s}[1]" for s in SUFFIXES)): 8,
            group(
                *(f"rnn.weight_hr_{s}[0] rnn.weight_hh_{s}[1]" for s in SUFFIXES),
                "rnn.weight_ih_l1[1] rnn.weight_ih_l1_reverse[1] head.weight[1]",
            ): 4,
        },
    ),
    "gru_cell": stepped(nn.GRUCell),
    "rnn_cell": stepped(nn.RNNCell),
    "lstm_cell": stepped(nn.LSTMCell),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_recurrent(row: Whole) -> None:
    row.check()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("padding", [0.0, 1.0])
def test_packed_sequences(kind: type[nn.RNNBase], padding: float) -> None:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(m.first(x), torch.tensor([3, 4]), True, False)
        steps, last = m.rnn(packed)
        last = last[0] if isinstance(last, tuple) else last
        return m.head(pad_packed_sequence(steps, True, padding)[0]) + m.head(last[-1])[:, None]

    row = Whole(
        reader(lambda: kind(6, 8, batch_first=True), first=nn.Linear(3, 6), forward=forward),
        ((2, 4, 3),),
        ONE | {"first.bias[0] first.weight[0] rnn.weight_ih_l0[1]": 6},
    )
    row.check()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}])
def test_prices_are_those_of_the_counter(kind, options):
    net = kind(4, 6, batch_first=True, **options)
    x = torch.randn(2, 5, 4)
    prices = couple(net, x).prices
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    total = sum(price * sizes[name] for name, price in prices.items())
    assert total == count_macs(net, x)
