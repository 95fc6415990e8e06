"""Compact models travel through a file without pickle."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from lightning_prune.compaction import compact, load_compact, save_compact


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
    from safetensors.torch import save_file

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
