"""Compact models travel through a file without pickle."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.oracle import halved
from torch import Tensor, nn

from lightning_prune.compaction import compact, load_compact, save_compact
from lightning_prune.runtime.attention import TensorSizedAttention


class Net(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.each = nn.Conv2d(width, width, 3, groups=width)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.each(self.norm(self.first(x)).relu()).mean((2, 3)))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 8, 8)


@pytest.fixture
def small(x: Tensor) -> Net:
    model = Net().eval()
    with torch.no_grad():
        for tensor in (model.first.weight, model.first.bias, model.norm.weight, model.norm.bias):
            tensor[:3] = 0
        model.each.weight[:3] = 0
        model.each.bias[:3] = 0
    compact(model, x, latency=False)
    assert model.each.groups == 5
    return model


def test_a_fresh_model_becomes_the_saved_one(small, x, tmp_path):
    save_compact(small, tmp_path / "small.safetensors")
    fresh = Net().eval()
    loaded = load_compact(fresh, tmp_path / "small.safetensors")
    assert loaded is fresh
    assert torch.equal(loaded(x), small(x))
    assert loaded.each.groups == loaded.first.out_channels == loaded.norm.num_features == 5
    assert list(loaded.state_dict()) == list(Net().state_dict())


def test_the_file_holds_tensors_and_json_only(small, tmp_path):
    save_compact(small, tmp_path / "small.safetensors")
    with safe_open(tmp_path / "small.safetensors", framework="pt") as file:
        sizes = json.loads(file.metadata()["sizes"])
    assert sizes["head"] == {"in_features": 5, "out_features": 4}
    channels = {name: sizes["each"][name] for name in ("in_channels", "out_channels", "groups")}
    assert channels == {"in_channels": 5, "out_channels": 5, "groups": 5}


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 4)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.embedding.weight

    model = Tied()
    save_compact(model, tmp_path / "tied.safetensors")
    with safe_open(tmp_path / "tied.safetensors", framework="pt") as file:
        assert list(file.keys()) == ["embedding.weight"]
    loaded = load_compact(Tied(), tmp_path / "tied.safetensors")
    assert loaded.head.weight is loaded.embedding.weight
    assert torch.equal(loaded.head.weight, model.head.weight)


def test_a_model_of_another_size_is_refused_and_stays_as_it_was(small, tmp_path):
    save_compact(small, tmp_path / "small.safetensors")
    narrow = Net(width=4)
    before = {name: tensor.clone() for name, tensor in narrow.state_dict().items()}
    with pytest.raises(ValueError, match=r"shapes that do not fit: .*first\.weight \(5, 3, 3, 3\)"):
        load_compact(narrow, tmp_path / "small.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in narrow.state_dict().items())


def test_a_model_of_another_class_is_refused_by_name(small, tmp_path):
    save_compact(small, tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match=r"tensors that the model lacks: each\.bias"):
        load_compact(nn.Sequential(nn.Linear(2, 2)), tmp_path / "small.safetensors")


def test_another_file_is_refused(tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"Write it with `save_compact`"):
        load_compact(Net(), tmp_path / "other.safetensors")


@pytest.mark.slow
def test_another_process_rebuilds_the_model_from_its_class(tmp_path):
    torch.save(torch.ones(1, 3, 16, 16), tmp_path / "x.pt")
    folder = str(tmp_path)
    prune = (
        "import torch, torchvision, lightning_prune as lp\n"
        "torch.manual_seed(0)\n"
        "model = torchvision.models.resnet18().eval(); x = torch.load(f'{folder}/x.pt')\n"
        "lp.prune(model, x, sparsity=0.5, criterion=lp.Magnitude(), granularity=lp.Channel())\n"
        "lp.compact(model, x, latency=False)\n"
        "lp.save_compact(model, f'{folder}/small.safetensors')\n"
    )
    load = (
        "import torch, torchvision, lightning_prune as lp\n"
        "model = torchvision.models.resnet18().eval(); x = torch.load(f'{folder}/x.pt')\n"
        "lp.load_compact(model, f'{folder}/small.safetensors')\n"
    )
    answer = "torch.save(model(x).detach(), f'{folder}/NAME.pt')\n"
    for name, code in (("saved", prune), ("loaded", load)):
        script = f"folder = {folder!r}\n{code}{answer.replace('NAME', name)}"
        subprocess.run([sys.executable, "-c", script], check=True)
    assert torch.equal(torch.load(tmp_path / "saved.pt"), torch.load(tmp_path / "loaded.pt"))


class Mixed(nn.Module):
    """Layers whose sizes stand in attributes: group norm, PReLU, LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 8, 3)
        self.norm = nn.GroupNorm(4, 8)
        self.slope = nn.PReLU(8)
        self.rnn = nn.LSTM(8, 12, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.slope(self.norm(self.first(x))).mT)[0].mean(1))


def test_every_size_in_an_attribute_is_brought_up_to_date(tmp_path):
    from lightning_prune import Magnitude, prune

    model, x = Mixed().eval(), torch.randn(2, 3, 10)
    prune(model, x, sparsity=0.5, criterion=Magnitude())
    masked = model(x)
    compact(model, x, latency=False)
    assert torch.allclose(model(x), masked, atol=1e-6)
    groups = model.norm.num_groups
    assert groups < 4
    assert model.norm.num_channels == model.slope.num_parameters == 2 * groups
    assert model.first.out_channels == model.rnn.input_size == 2 * groups
    assert model.head.in_features == 2 * model.rnn.hidden_size < 24
    save_compact(model, tmp_path / "mixed.safetensors")
    loaded = load_compact(Mixed().eval(), tmp_path / "mixed.safetensors")
    assert torch.equal(loaded(x), model(x))
    assert repr(loaded) == repr(model)


class Hard(nn.Module):
    """Sizes in attributes and in the source, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self._hidden, self.tail = 8, 8, (4, 8)
        self.first = nn.Linear(5, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        x = x.flatten(1).view(x.shape[0], -1, self.width)
        x = x.flatten(1).view(x.shape[0], -1, self._hidden)
        x = x.flatten(1).view(-1, *self.tail)
        return self.last(x.flatten(1).reshape(x.shape[0], 4, 8) / x.shape[-1])


@pytest.fixture
def hard() -> tuple[Hard, Tensor]:
    x = torch.randn(2, 4, 5)
    model = halved(Hard(), (x,)).eval()
    report = compact(model, x, latency=False)
    assert report.refused == {}
    return model, x


def test_attributes_source_and_attention_are_in_the_file(hard, tmp_path):
    model, x = hard
    save_compact(model, tmp_path / "hard.safetensors")
    loaded = load_compact(Hard().eval(), tmp_path / "hard.safetensors")
    assert torch.equal(loaded(x), model(x))
    assert (loaded.width, loaded._hidden, loaded.tail) == (4, 4, (4, 8))
    assert [type(m) for m in loaded.modules()] == [type(m) for m in model.modules()]
    assert isinstance(loaded.attention, TensorSizedAttention)


def test_a_loaded_model_is_saved_and_loaded_again(hard, tmp_path):
    model, x = hard
    save_compact(model, tmp_path / "hard.safetensors")
    loaded = load_compact(Hard().eval(), tmp_path / "hard.safetensors")
    save_compact(loaded, tmp_path / "again.safetensors")
    again = load_compact(Hard().eval(), tmp_path / "again.safetensors")
    assert torch.equal(again(x), model(x))


def altered(path: Path, key: str, change: Callable[[Any], Any]) -> Path:
    """Write a file in which one entry of the metadata is another."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dict
    metadata[key] = json.dumps(change(json.loads(metadata[key])))
    save_file(tensors, path.with_name("altered.safetensors"), metadata)
    return path.with_name("altered.safetensors")


def test_source_that_differs_is_refused_and_the_model_stays_as_it_was(hard, tmp_path):
    save_compact(hard[0], tmp_path / "hard.safetensors")

    def change(classes):
        classes[""]["edits"][0]["digest"] = "of another time"
        return classes

    path = altered(tmp_path / "hard.safetensors", "classes", change)
    fresh = Hard()
    state, classes = copy.deepcopy(fresh.state_dict()), [type(m) for m in fresh.modules()]
    with pytest.raises(ValueError, match=r"source of Hard.forward has changed. Use the version"):
        load_compact(fresh, path)
    assert [type(m) for m in fresh.modules()] == classes
    assert all(torch.equal(t, state[name]) for name, t in fresh.state_dict().items())
    assert (fresh.width, fresh.attention._qkv_same_embed_dim) == (8, True)


def test_a_module_that_is_missing_is_named(hard, tmp_path):
    save_compact(hard[0], tmp_path / "hard.safetensors")
    path = altered(tmp_path / "hard.safetensors", "classes", lambda found: {"gone": found[""]})
    with pytest.raises(ValueError, match="tensors that the model lacks: gone"):
        load_compact(Hard(), path)
