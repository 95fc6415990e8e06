"""Rewritten classes correct calls in the source, and live on like the user's own."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap

import onnx.reference
import pytest
import torch
import torch.nn.functional as F
from support.oracle import halved
from torch import Tensor, nn

from lightning_prune.compaction import compact
from lightning_prune.compaction.rewriting.call_site import digest, sources_along
from lightning_prune.compaction.rewriting.rewrite import Edit, edits_of, joined, rewritten
from lightning_prune.coupling.graph import Position
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import (
    Correction,
    GiveBack,
    Pin,
    RescaleMean,
    Resize,
    SizeFactor,
)


class Everything(nn.Module):
    """A stream under norms, attention and sizes of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 8)
        self.norm = nn.LayerNorm(8)
        self.scale = nn.RMSNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attend(self.norm(self.first(x)))
        x = torch.cat([x[..., :5].relu(), x[..., 5:].tanh()], -1)
        first, second = self.scale(x).split(5, -1)
        x = torch.cat([first, second], -1) / x.shape[-1] ** 0.5
        return self.last(x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1))

    def attend(self, x: Tensor) -> Tensor:
        B, N, C = x.shape  # noqa: N806 as everybody writes it
        q, k, v = self.qkv(x).reshape(B, N, 3, 2, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(B, N, 8)) * (C // 2) ** -0.5


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 6, 5)


@pytest.fixture
def small(x: Tensor) -> nn.Module:
    model = halved(Everything(), (x,)).eval()
    assert compact(model, x, latency=False).refused == {}
    assert edits_of(type(model)) != (type(model), ())
    return model


def test_its_class_is_a_subclass_that_shows_as_the_users(small):
    assert isinstance(small, Everything)
    assert (type(small).__name__, type(small).__module__) == ("Everything", Everything.__module__)
    assert edits_of(type(small))[0] is Everything
    assert list(small.state_dict()) == list(Everything().state_dict())


def test_other_instances_of_the_class_stay_as_they_are(small, x):
    full = Everything()
    assert type(full) is Everything
    assert full(x).shape == (4, 6, 3)


def test_it_is_copied(small, x):
    assert torch.equal(copy.deepcopy(small)(x), small(x))
    assert type(copy.deepcopy(small)) is type(small)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_pickled(small, x, protocol):
    assert torch.equal(pickle.loads(pickle.dumps(small, protocol))(x), small(x))


def test_it_trains_on(small, x):
    small.train()
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    before = small(x)
    before.square().sum().backward()
    optimizer.step()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())
    assert not torch.equal(small(x), before)


@pytest.mark.parametrize("strict", [False, True])
def test_it_is_exported_for_batches_of_every_size(small, x, strict):
    shapes = ({0: torch.export.Dim("batch", min=2)},)
    program = torch.export.export(small, (x,), dynamic_shapes=shapes, strict=strict)
    other = torch.randn(7, 6, 5)
    torch.testing.assert_close(program.module()(other), small(other))


@pytest.mark.slow
@pytest.mark.skipif(
    torch.__version__.startswith("2.6"), reason="torch 2.6 exports the full size wrongly, too"
)
@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_it_is_exported_to_onnx(small, x):
    program = torch.onnx.export(small, (x,), dynamo=True, verbose=False)
    assert program is not None
    model = program.model_proto
    run = onnx.reference.ReferenceEvaluator(model).run
    (found,) = run(None, {model.graph.input[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), small(x).detach(), rtol=1e-4, atol=1e-5)


def test_it_is_compiled(small, x):
    torch._dynamo.reset()
    compiled = torch.compile(small, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), small(x))
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_its_source_is_not_taken_for_the_users(small):
    with pytest.raises((OSError, RuntimeError), match="source"):
        torch.jit.script(small)


NET = """
    import torch
    from torch import nn

    def fold(x, width=8):
        return x.flatten(1).view(x.shape[0], -1, width)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.last(fold(self.first(x)) / 8)
"""


@pytest.mark.slow
def test_another_process_unpickles_it_and_refuses_other_source(tmp_path, monkeypatch, x):
    (tmp_path / "a_net_of_a_file.py").write_text(textwrap.dedent(NET))
    monkeypatch.syspath_prepend(str(tmp_path))
    from a_net_of_a_file import Net  # type: ignore[import-not-found]

    model = halved(Net(), (x,)).eval()
    compact(model, x, latency=False)
    assert model.first.weight.shape == (4, 5)
    torch.save([model, x, model(x).detach()], tmp_path / "model.pt")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import torch\n"
        "model, x, expected = torch.load(sys.argv[1], weights_only=False)\n"
        "assert torch.equal(model(x), expected), 'other outputs'\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.pt")]
    subprocess.run(command, check=True)
    changed = textwrap.dedent(NET).replace("x.flatten(1)", "x.flatten( 1)")
    (tmp_path / "a_net_of_a_file.py").write_text(changed)
    result = subprocess.run(command, capture_output=True, text=True)
    assert "the source of Net.forward has changed" in result.stderr


# The parts.


class Net(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 8)


def edit(correction: Correction, digest: str = "") -> Edit:
    return Edit("forward", (Position(1, 1, 15, 30),), correction, digest)


def test_without_edits_the_class_is_the_users():
    assert rewritten(Net, ()) is Net
    assert edits_of(Net) == (Net, ())


def test_the_source_must_be_the_one_of_the_edits():
    with pytest.raises(RewriteError, match=r"source of Net.forward has changed"):
        rewritten(Net, (edit(Resize((SizeFactor(1, 1, 2),)), "of another time"),))


def test_a_method_that_is_missing_is_told():
    with pytest.raises(RewriteError, match=r"Net.gone has no source"):
        rewritten(Net, (Edit("gone", (Position(1, 1, 15, 30),), Pin(1, 2), ""),))


def test_edits_of_one_call_are_joined_and_others_kept():
    first = edit(Resize((SizeFactor(1, 1, 2),)))
    other = Edit("other", first.path, Pin(2, 1), "")
    second = edit(Resize((SizeFactor(1, 1, 3),)))
    assert joined([first, other], [second]) == (
        edit(Resize((SizeFactor(1, 1, 6),))),
        other,
    )


def test_two_kinds_of_edits_of_one_call_are_refused():
    with pytest.raises(RewriteError, match="two corrections"):
        joined([edit(Resize((SizeFactor(1, 1, 2),)))], [edit(RescaleMean(0.5))])


def test_only_forward_is_replaced_as_a_whole_and_only_by_giving_back():
    source = digest(sources_along(Net, "forward", ()))
    given_back = rewritten(Net, (Edit("forward", (), GiveBack(("tensor",)), source),))
    assert torch.equal(given_back()(torch.ones(3)), torch.ones(3))
    with pytest.raises(RewriteError, match="Pin does not stand in for forward"):
        rewritten(Net, (Edit("forward", (), Pin(1, 2), source),))
    source = digest(sources_along(Net, "train", ()))
    with pytest.raises(RewriteError, match="GiveBack does not stand in for train"):
        rewritten(Net, (Edit("train", (), GiveBack(("tensor",)), source),))
