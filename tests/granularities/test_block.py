import pytest
import torch
from torch import nn

from lightning_prune.criteria import Magnitude
from lightning_prune.granularities import Block
from lightning_prune.pruning import prune
from lightning_prune.units.group import Structure


def test_tiles_row_by_row():
    weight = torch.zeros(4, 6)
    (group,) = Block(2, 3).groups({"w": weight}, Structure())
    tiles = group.members[0].positions
    assert group.units == 4
    assert tiles[0].tolist() == [0, 1, 2, 6, 7, 8]
    assert tiles[1].tolist() == [3, 4, 5, 9, 10, 11]
    assert tiles[2].tolist() == [12, 13, 14, 18, 19, 20]


def test_a_tile_of_a_convolution_takes_whole_kernels():
    (group,) = Block(1, 2).groups({"w": torch.zeros(3, 4, 2, 1)}, Structure())
    assert group.units == 3 * 2
    assert group.members[0].positions[0].tolist() == [0, 1, 2, 3]


def test_what_tiles_do_not_cover_is_named():
    weights = {"w": torch.zeros(4, 6), "b": torch.zeros(4), "t": torch.zeros(2, 2).int()}
    assert Block(2, 4).groups(weights, Structure()) == []
    assert Block(2, 4).refused(weights) == {"w": "its sizes are no multiples of 2 by 4"}


@pytest.mark.parametrize("sparsity", [0.25, 0.5])
def test_whole_blocks_of_the_lowest_norm_go(sparsity):
    model = nn.Sequential(nn.Linear(8, 12))
    norms = model[0].weight.detach().abs().view(6, 2, 2, 4).sum((1, 3))
    report = prune(model, sparsity=sparsity, criterion=Magnitude(), granularity=Block(2, 4))
    assert report.sparsity == sparsity
    gone = model[0].weight.detach().view(6, 2, 2, 4).abs().sum((1, 3)) == 0
    assert int(gone.sum()) == 12 * sparsity
    assert norms[gone].max() < norms[~gone].min()


def test_the_report_names_what_was_left_alone():
    model = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 3))
    report = prune(model, sparsity=0.5, criterion=Magnitude(), granularity=Block(2, 4))
    assert report.left_alone == {"1.weight": "its sizes are no multiples of 2 by 4"}


def test_layers_of_another_scale_lose_as_many_blocks():
    model = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 8))
    with torch.no_grad():
        model[1].weight.copy_(100 * model[0].weight.T)
    prune(model, sparsity=0.5, criterion=Magnitude(), granularity=Block(2, 2))
    assert [int((layer.weight == 0).sum()) for layer in model] == [48, 48]
