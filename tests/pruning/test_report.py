from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from lightning_prune.pruning.masks import Masks
from lightning_prune.pruning.prunable import Prunable
from lightning_prune.pruning.report import PruningReport, report_of
from lightning_prune.units.group import Axis, Group, GroupCount, Member


def test_prints_as_a_table():
    report = PruningReport(
        target=0.5,
        sparsity=0.4971,
        of="macs",
        groups=(GroupCount("conv", 8, 2), GroupCount("fc", 4, 3)),
        left_alone={"head": "`head` is excluded"},
    )
    lines = str(report).splitlines()
    assert lines[0] == "sparsity 0.4971 of macs (target 0.5000)"
    assert lines[3].split() == ["conv", "8", "6", "25.0%"]
    assert lines[4].split() == ["fc", "4", "1", "75.0%"]
    assert lines[5] == "left alone, `head` is excluded: head"


def masked() -> Masks:
    """Of layer 0 two of three neurons are removed, of layer 1 none of two."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    groups = [
        Group(
            "0",
            3,
            (
                Member(Axis("0.weight", 0), "out", 3),
                Member(Axis("0.bias", 0), "out", 3),
                Member(Axis("1.weight", 1), "in", 3),
            ),
        ),
        Group("1", 2, (Member(Axis("1.weight", 0), "out", 2),)),
    ]
    masks = Masks(model, groups)
    masks.keep([torch.tensor([True, False, False]), torch.tensor([True, True])])
    return masks


def report(**known: Any) -> PruningReport:
    masks = masked()
    prunable = Prunable(masks.groups, parameters=23, **known)
    return report_of(0.5, 0.4, "units", masks, prunable, [1, 1])


def test_counts_and_floors_of_groups() -> None:
    assert [(g.name, g.removed) for g in report().groups] == [("0", 2), ("1", 0)]
    assert report().bound == ("0",)


def test_what_compaction_leaves() -> None:
    # Two neurons with four weights and a bias each, and two weights that read each of them.
    assert (report().params_before, report().params_after) == (23, 23 - 2 * (4 + 1 + 2))
    assert report().macs_left is None
    prices = {"0.weight": 10.0, "1.weight": 1.0}
    known = report(prices=prices, macs=10.0 * 12 + 1.0 * 6)
    assert known.macs_left == pytest.approx((10 * 4 + 2) / (10 * 12 + 6))
    assert replace(known, macs_before=252).macs_after == 84
    assert "compaction leaves 9 of 23 parameters (39.1%) and 33.3% of the MACs" in str(known)


def test_of_single_weights_compaction_leaves_all() -> None:
    layer = nn.Linear(4, 3)
    masks = Masks(layer, [Group("weight", 12, (Member(Axis("weight", -1), "out", 12),))])
    masks.keep([torch.arange(12) > 5])
    found = report_of(0.5, 0.5, "parameters", masks, Prunable(masks.groups, 15), [0])
    assert found.params_after == found.params_before == 15
    assert "compaction" not in str(found)
    assert found.line(100) == "asked 0.500, got 0.500; most cut: weight 50%"


def test_a_line_has_room_for_the_group_cut_most() -> None:
    name = "backbone.stages.3.blocks.11.conv"
    long = replace(report(), groups=(GroupCount("a", 9, 3), GroupCount(name, 4, 3)))
    line = "asked 0.500, got 0.400; leaves 9 params; most cut: "
    assert long.line(100) == f"{line}{name} 75%"
    assert long.line(60) == "asked 0.500, got 0.400; leaves 9 params"
    assert long.line(72) == f"{line}backbone….11.conv 75%"
