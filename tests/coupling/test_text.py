"""The short text is as wide as a terminal, the long one names everything."""

import pytest
import torch
from torch import nn

from lightning_prune.coupling import couple
from lightning_prune.coupling.text import shorten


class Stack(nn.Module):
    """Residual blocks of long names, so that nothing fits by chance, and a part that is not run."""

    def __init__(self) -> None:
        super().__init__()
        self.first_projection_of_the_features = nn.Linear(4, 8)
        self.blocks_that_share_one_residual_stream = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8)) for _ in range(9)
        )
        self.head = nn.Linear(8, 3)
        self.spare = nn.Linear(5, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first_projection_of_the_features(x)
        for block in self.blocks_that_share_one_residual_stream:
            x = x + block(x)
        return self.head(x)


@pytest.fixture(scope="module")
def coupling():
    return couple(Stack(), torch.randn(2, 4))


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_longer_than_the_width(coupling, width: int) -> None:
    assert max(len(line) for line in shorten(coupling, width).splitlines()) <= width


def test_every_group_has_a_line_with_its_numbers(coupling) -> None:
    rows = [line.split() for line in shorten(coupling, 100).splitlines() if line]
    # 4 * 8 + 8 of the projection, 8 * 12 + 12 * 8 + 8 of each block, 8 * 3 of the head
    stream = next(row for row in rows if row[0].startswith("first_projection"))
    assert stream[1:3] == ["8", "1,864"]
    assert stream[3] == str(2 + 9 * 3 + 1)
    assert stream[-1] == "+8"
    # 8 * 12 + 12 of the first layer, 12 * 8 of the second
    assert sum(row[1:4] == ["12", "204", "3"] for row in rows) == 9


def test_names_are_told_apart_by_their_ends(coupling) -> None:
    names = [line.split()[0] for line in shorten(coupling, 60).splitlines() if " 204 " in line]
    assert all("…" in name for name in names)
    assert [name[-3:] for name in names] == [f"{index}.0" for index in range(9)]


def test_what_is_frozen_for_one_reason_is_one_note(coupling) -> None:
    text = str(coupling)
    assert text.count("frozen: ") == 1
    assert "frozen: head: written to the model's output" in text
    assert "not run: spare" in text
    assert "9 residual branches" in text


def test_the_details_name_every_member(coupling) -> None:
    text = coupling.details()
    for group in coupling.groups:
        assert all(str(member.axis) in text for member in group.parameters)
    assert "head.bias[0]" in text
    assert "not run: spare" in text


def test_reasons_of_one_kind_name_the_first_operation() -> None:
    class Picks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.cumsum(self.a(x), 1)
            x = torch.cumsum(self.b(x), 1)
            return self.c(x)

    coupling = couple(Picks(), torch.randn(2, 4))
    assert len({frozen.reason for frozen in coupling.frozen}) == 3
    notes = [line for line in str(coupling).splitlines() if line.startswith("frozen: ")]
    assert len(notes) == 2
    assert notes[0].startswith("frozen: a, b: ")


def test_a_model_without_a_group_prints() -> None:
    text = str(couple(nn.Linear(4, 2), torch.randn(2, 4)))
    assert "0 of 10 parameters can be pruned (0.0%)" in text
