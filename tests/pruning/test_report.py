from lightning_prune.pruning.report import PruningReport
from lightning_prune.units import GroupCount


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
