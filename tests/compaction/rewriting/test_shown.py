"""The source of a corrected copy can be read, and has the lines of the original."""

from __future__ import annotations

import copy
import inspect
import linecache
import pickle
import textwrap
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.compaction.rewriting.shown import corrected_text
from lightning_prune.coupling.graph import Position


def fold(x: Tensor) -> Tensor:
    """Used by the net."""
    return x.view(x.shape[0], 8)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise ValueError("two dimensions")  # a comment
        h = fold(self.first(x).relu())
        return self.last(
            h.sum(
                -1,
                keepdim=True,
            )
            / h.shape[-1]
        )


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
SHOWN = """\
    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise ValueError("two dimensions")  # a comment
        h = corrected_fold_0(self.first(x).relu())
        return self.last(
            PIN(h.sum(-1, keepdim=True)) / PIN(h.shape[-1])




        )
""".replace("PIN", "Pin(numerator=2, denominator=1)")


def compacted() -> Net:
    net = Net().eval()
    with torch.no_grad():
        net.first.weight[:4] = 0
        net.first.bias[:4] = 0
    lp.compact(net, X, latency=False)
    return net


def loaded(net: Net, path: Path) -> nn.Module:
    lp.save_compact(net, path / "x.safetensors")
    return lp.load_compact(Net().eval(), path / "x.safetensors")


AGAIN: dict[str, Any] = {
    "itself": lambda net, path: net,
    "copied": lambda net, path: copy.deepcopy(net),
    "pickled": lambda net, path: pickle.loads(pickle.dumps(net)),
    "loaded": loaded,
}


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
def test_the_corrected_source_is_read(again: Any, tmp_path: Path) -> None:
    net = again(compacted(), tmp_path)
    assert inspect.getsource(type(net).forward) == SHOWN
    assert inspect.getsourcelines(type(net).forward)[1] == inspect.getsourcelines(Net.forward)[1]


def test_the_same_source_has_the_same_file() -> None:
    files = {type(compacted()).forward.__code__.co_filename for _ in range(2)}
    assert len(files) == 1
    linecache.checkcache()  # drops what has changed on the disk
    assert inspect.getsource(type(compacted()).forward) == SHOWN


def test_tracebacks_show_the_corrected_lines() -> None:
    net = compacted()
    with pytest.raises(ValueError, match="two dimensions") as caught:
        net(X[0])
    assert 'raise ValueError("two dimensions")  # a comment' in _shown(caught.value)
    net.last = nn.Linear(2, 3)
    with pytest.raises(RuntimeError) as failed:
        net(X)
    assert "return self.last(" in _shown(failed.value)
    net.first = nn.Linear(4, 3)
    net.first.weight.data = torch.zeros(4, 4, 4)
    with pytest.raises(RuntimeError) as failed:
        net(X)
    assert "corrected_fold_0(self.first(x).relu())" in _shown(failed.value)


def _shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


# The text.


def positions(text: str, *parts: str) -> dict[Position, str]:
    """Say "new" for each part of a text, which starts at line 10 of its file."""
    found = {}
    for part in parts:
        before, inside = text[: text.index(part)].encode(), part.encode()
        line, end = before.count(b"\n"), (before + inside).count(b"\n")
        columns = (len(before.split(b"\n")[-1]), len((before + inside).split(b"\n")[-1]))
        found[Position(10 + line, 10 + end, *columns)] = "new"
    return found


TEXT = textwrap.dedent(
    """\
    def f(x):
        y = a(b(x), "ü") + c(x)
        return d(
            y) + e(z)
    """
)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["b(x)"], TEXT.replace("b(x)", "new")),
        (["c(x)"], TEXT.replace("c(x)", "new")),
        (['a(b(x), "ü")', "b(x)", "c(x)"], TEXT.replace('a(b(x), "ü") + c(x)', "new + new")),
        (["d(\n        y)", "e(z)"], TEXT.replace("d(\n        y) + e(z)", "new + new\n")),
        ([], TEXT),
    ],
    ids=["inside", "behind letters of two bytes", "nested", "over two lines", "nothing"],
)
def test_parts_are_replaced_in_place(parts: list[str], expected: str) -> None:
    found = corrected_text(TEXT, 10, positions(TEXT, *parts))
    assert found == expected
    assert found.count("\n") == TEXT.count("\n")
