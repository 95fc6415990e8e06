import torch
from support.nets import Net
from torch import nn

from lightning_prune.compaction.constants.origins import Origins
from lightning_prune.coupling import couple


def origins_of(function):
    """Return whether what is added last is a table, and whether it is a weight."""
    net = Net(lambda m, x: m.first(x) + function(m, x), first=nn.Linear(3, 4))
    graph = couple(net, torch.randn(2, 3)).traces.traces[0].graph
    origins, ref = Origins.of(graph), graph.nodes[-1].args[1]
    return ref in origins.tables, ref in origins.weights


def test_a_weight_keeps_its_size():
    assert origins_of(lambda m, x: m.first.bias * 2) == (True, True)
    assert origins_of(lambda m, x: m.first.bias.expand(2, 4)) == (True, False)
    assert origins_of(lambda m, x: m.first.weight[:, 0]) == (True, False)


def test_literal_numbers_make_tables():
    assert origins_of(lambda m, x: x.new_ones(4)) == (True, False)
    assert origins_of(lambda m, x: m.first.bias + x.new_ones(4)) == (True, False)


def test_what_the_inputs_reach_is_neither():
    assert origins_of(lambda m, x: m.first.bias + x[:, :1]) == (False, False)
