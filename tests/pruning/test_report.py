import torch

from lightning_prune.pruning.report import PruningReport, report_of
from lightning_prune.units.group import Group, GroupCount


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
    assert lines[3].split() == ["conv", "6", "8", "0.2500"]
    assert lines[4].split() == ["fc", "1", "4", "0.7500"]
    assert lines[5] == "left alone, `head` is excluded: head"


def test_counts_and_floors_of_groups() -> None:
    kept = [torch.tensor([True, False, False]), torch.tensor([True, True])]
    groups = [Group("a", 3, ()), Group("b", 2, ())]
    report = report_of(PruningReport(0.5, 0.4, "units", ()), groups, kept, [1, 1])
    assert [(g.name, g.removed) for g in report.groups] == [("a", 2), ("b", 0)]
    assert report.bound == ("a",)
