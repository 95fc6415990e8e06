import torch
from torch import nn

from lightning_prune.modules.names import parameters_by_any_name, parameters_by_name, plain_name


def test_plain_names():
    assert plain_name("_orig_mod") == ""
    assert plain_name("net._orig_mod.fc.weight") == "net.fc.weight"
    assert plain_name("fc.weight") == "fc.weight"


def test_compiled_parameters_have_both_names():
    model = nn.ModuleDict({"net": torch.compile(nn.Linear(2, 2, bias=False))})
    assert list(parameters_by_name(model)) == ["net.weight"]
    assert set(parameters_by_any_name(model)) == {"net.weight", "net._orig_mod.weight"}


def test_tied_parameters_have_every_name():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    assert list(parameters_by_name(model)) == ["0.weight"]
    assert set(parameters_by_any_name(model)) == {"0.weight", "1.weight"}
