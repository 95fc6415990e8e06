"""What no example runs is named, and what it may read stays."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.coupling import couple
from lightning_prune.coupling.modes import record_modes
from lightning_prune.coupling.unused import may_read, parts_of, unused_parameters, warn_unused
from lightning_prune.modules.inputs import ExampleInputs

X = torch.randn(2, 4)


class Auxiliary(nn.Module):
    """An auxiliary head reads the first hidden features; only a training step runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 6)
        self.head, self.aux = nn.Linear(6, 3), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu())

    def training_step(self, x: Tensor) -> Tensor:
        return self(x).mean() + self.aux(self.first(x).relu()).square().mean()


class Autoencoder(nn.Module):
    """`encode` and `decode` are methods of their own; `forward` runs the first alone."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.code = nn.Linear(4, 8), nn.Linear(8, 3)
        self.up, self.out = nn.Linear(3, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def encode(self, x: Tensor) -> Tensor:
        return self.code(self.down(x).relu())

    def decode(self, z: Tensor) -> Tensor:
        return self.out(self.up(z).relu())


class Tied(nn.Module):
    """`logits` reads hidden features by the weight of the embedding; `forward` does not."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def hidden(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return x + self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))

    def logits(self, x: Tensor) -> Tensor:
        return F.linear(self.hidden(x), self.embed.weight)


class ForLong(nn.Module):
    """Inputs of more than three steps take a path of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.summary = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu()
        if x.shape[1] > 3:
            hidden = hidden + self.summary(hidden).mean(1, keepdim=True)
        return self.last(hidden)


def groups(model: nn.Module, example_inputs: object, **options: bool) -> dict[str, list[str]]:
    """Return the axes of parameters of every group, by its name."""
    coupling = couple(model, example_inputs, **options)
    return {g.name: [str(m.axis) for m in g.parameters] for g in coupling.groups}


def test_what_an_unused_head_may_read_is_frozen_with_the_reason():
    coupling = couple(Auxiliary(), X)
    assert coupling.unused == ("aux.weight", "aux.bias")
    assert [group.name for group in coupling.groups] == ["second"]
    assert {f.axis.tensor: f.reason for f in coupling.frozen}["first.weight"] == (
        "aux.weight, which the example did not run, may read it. Pass an example that runs it, or "
        "allow_unused=True"
    )
    assert coupling.readable == {"first": may_read("aux.weight")}
    assert "not run: aux" in str(coupling)


def test_it_is_free_where_that_is_allowed_and_still_named():
    coupling = couple(Auxiliary(), X, allow_unused=True)
    assert [group.name for group in coupling.groups] == ["first", "second"]
    assert (coupling.unused, coupling.readable) == (("aux.weight", "aux.bias"), {})


def test_an_example_that_runs_it_couples_it():
    coupling = couple(Auxiliary(), [X, lp.Call("training_step", X)])
    assert coupling.unused == ()
    first = next(group for group in coupling.groups if group.name == "first")
    assert [str(m.axis) for m in first.members if m.side == "in"] == [
        "second.weight[1]",
        "aux.weight[1]",
    ]


def test_methods_other_than_forward_are_examples():
    model, z = Autoencoder(), torch.randn(2, 3)
    assert groups(model, X) == {}  # `up` and `out` are as wide as what `down` writes
    found = groups(model, [X, lp.Call("decode", z)])
    assert found == {
        "down": ["down.weight[0]", "down.bias[0]", "code.weight[1]"],
        "up": ["up.weight[0]", "up.bias[0]", "out.weight[1]"],
    }


def test_a_weight_that_another_method_reads_is_coupled_by_a_call_of_it():
    tokens = torch.arange(4).reshape(2, 2)
    sides = []
    for examples in ([tokens], [tokens, lp.Call("logits", tokens)]):
        [group] = couple(Tied(), examples).groups
        sides.append({str(m.axis): m.side for m in group.members}["embed.weight[1]"])
    assert sides == ["out", "in"]


def test_a_second_example_covers_the_path_of_long_inputs():
    short, long = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    assert groups(ForLong(), short) == {}
    assert couple(ForLong(), short).unused == ("summary.weight", "summary.bias")
    assert set(groups(ForLong(), [short, long])["first"]) == {
        "first.weight[0]",
        "first.bias[0]",
        "last.weight[1]",
        "summary.weight[0]",
        "summary.weight[1]",
        "summary.bias[0]",
    }


def test_a_reader_of_flattened_features_has_a_fitting_width():
    def run(m: nn.Module, x: Tensor) -> Tensor:
        return m.last(m.first(x))

    image = torch.randn(2, 3, 4, 4)
    parts = {"first": nn.Conv2d(3, 8, 3, padding=1), "last": nn.Conv2d(8, 2, 1)}
    assert groups(Net(run, **parts, flat=nn.Linear(8 * 4 * 4, 5)), image) == {}
    assert list(groups(Net(run, **parts, other=nn.Linear(9 * 4 * 4, 5)), image)) == ["first"]


def test_a_parameter_that_only_training_runs_is_used():
    class Training(Auxiliary):
        def forward(self, x: Tensor) -> Tensor:
            return self.training_step(x) if self.training else super().forward(x)

        def training_step(self, x: Tensor) -> Tensor:
            return self.aux(self.first(x)).mean()

    assert couple(Training(), X).unused == ()


def test_a_parameter_of_one_element_or_none_reads_nothing():
    net = Net(lambda m, x: m.used(x), used=nn.Linear(4, 2))
    net.scale, net.empty = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(0, 4))
    graphs = [one.graph for one in record_modes(net, [ExampleInputs.of(X)])]
    assert unused_parameters(net, graphs) == ()


PARTS = {
    "a whole module": (["a.w", "a.b"], ["a.w", "a.b", "c.w"], ("a",)),
    "the outermost": (["a.b.w", "a.c.w"], ["a.b.w", "a.c.w", "d"], ("a",)),
    "single ones": (["a.w", "b"], ["a.w", "a.b", "b"], ("a.w", "b")),
    "everything": (["a.w", "b"], ["a.w", "b"], ("a", "b")),
    "nothing": ([], ["a.w"], ()),
}


@pytest.mark.parametrize(("unused", "parameters", "parts"), PARTS.values(), ids=PARTS)
def test_modules_stand_for_their_parameters(unused, parameters, parts):
    assert parts_of(unused, parameters) == parts


def holder() -> nn.Module:
    model = nn.Module()
    model.body, model.aux = nn.Linear(2, 2), nn.Linear(2, 3)
    model.scale = nn.Parameter(torch.ones(2))
    return model


def test_one_warning_names_all_and_the_cure(caplog):
    warn_unused(holder(), ["aux.weight", "aux.bias", "scale"])
    warn_unused(holder(), [])
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "do not run aux, scale. " in record.getMessage()
    assert 'a list of examples that run them too, such as [x, Call("encode", x)]' in (
        record.getMessage()
    )
    assert "allow_unused=True" in record.getMessage()


def test_a_model_is_warned_of_once(caplog):
    model = holder()
    for unused in (["scale"], ["scale"], ["scale", "aux.weight"]):
        warn_unused(model, unused)
    assert len(caplog.records) == 2


def test_only_rank_zero_warns(caplog, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    warn_unused(holder(), ["scale"])
    assert not caplog.records
