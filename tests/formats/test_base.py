"""Every format: what it writes runs in its runtime, and returns what the model returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.oracle import halved
from torch import Tensor, nn

from lightning_prune.export.comparison import largest_error
from lightning_prune.formats import FORMATS
from lightning_prune.formats.program import Exportable

pytestmark = pytest.mark.filterwarnings("ignore")  # exporters warn of themselves


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 6, 3), nn.ReLU())
        self.head = nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.second(self.first(images)).mean((2, 3)))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0][:, -1])


class Several(nn.Module):
    """Several inputs, one of which nothing reads, numbers among them, and several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(
        self, x: Tensor, scale: float = 1.0, *, mask: Tensor, unread: Tensor
    ) -> dict[str, Any]:
        hidden = self.first(x).relu() * scale
        return {"logits": self.last(hidden) * mask[:, None], "both": (hidden.sum(1), x + 1)}


R = torch.Generator().manual_seed(0)
CASES = {
    "images": (Convolutions, torch.randn(3, 3, 8, 8, generator=R)),
    "a batch of 1": (Convolutions, torch.randn(1, 3, 8, 8, generator=R)),
    "tokens": (Words, torch.randint(0, 20, (3, 5), generator=R)),
    "several": (
        Several,
        {
            "x": torch.randn(3, 4, generator=R),
            "scale": 2.0,
            "unread": torch.ones(3),
            "mask": torch.ones(3),
        },
    ),
}


def case(name: str) -> Exportable:
    torch.manual_seed(0)
    kind, inputs = CASES[name]
    given = (inputs["x"],) if isinstance(inputs, dict) else (inputs,)
    model = kind() if kind is Several else halved(kind(), given)
    return Exportable.of(model, inputs, [inputs] * 2)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_what_a_format_writes_is_the_same_function_at_any_batch_size(
    form: str, name: str, tmp_path: Path
) -> None:
    one = FORMATS[form]
    if one.missing():
        pytest.skip(f"not installed: {', '.join(one.missing())}")
    exportable = case(name)
    assert exportable.dynamic
    path = tmp_path / f"small{one.suffix}"
    one.write(exportable, path)
    assert all(file.stat().st_size for file in one.files(path))
    assert {path} <= set(one.files(path)) == set(tmp_path.iterdir())
    run = one.load(path)
    assert largest_error(exportable, run) <= (1e-5 if one.exact else 0.2)
    named = exportable.named(exportable.inputs)
    first = run(named)
    kept = [output.clone() for output in first]
    run({name: value + 1 if value.is_floating_point() else value for name, value in named.items()})
    assert all(map(torch.equal, first, kept)), "a second run changes what the first one returned"


def test_every_format_has_an_ending_of_its_own() -> None:
    endings = [one.suffix for one in FORMATS.values()]
    assert len(set(endings)) == len(endings)


def test_a_format_names_the_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = FORMATS["openvino"]
    monkeypatch.setattr(type(one), "packages", ("torch", "no_such_package"))
    assert one.missing() == ["no_such_package"]
