"""Compact models travel through a file without pickle."""

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from support.oracle import halved
from torch import Tensor, nn

import lightning_prune
from lightning_prune.compaction import compact, compact_file, load_compact, save_compact
from lightning_prune.compaction.compact_file import CompactFile, checksums
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.records import plan_of
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.modules.inputs import Call
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


class Multiplied(nn.Module):
    """A depthwise convolution with two channels in each of its six groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 1)
        self.each = nn.Conv2d(6, 12, 3, groups=6)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.each(self.first(x).relu()).relu().mean((2, 3)))


def zero(rows: list[int], *tensors: Tensor) -> None:
    for tensor in tensors:
        tensor.detach()[rows] = 0


def test_groups_that_went_and_channels_that_went_of_each_group_later_are_loaded(x, tmp_path):
    model = Multiplied().eval()
    zero([0, 1, 2, 3], model.first.weight, model.first.bias)
    zero(list(range(8)), model.each.weight, model.each.bias)
    compact(model, x, latency=False)
    zero([0, 2], model.each.weight, model.each.bias, model.head.weight.mT)
    compact(model, x, latency=False)
    assert (model.each.groups, model.each.out_channels) == (2, 2)
    save_compact(model, tmp_path / "small.safetensors")
    loaded = load_compact(Multiplied().eval(), tmp_path / "small.safetensors")
    assert torch.equal(loaded(x), model(x))
    assert repr(loaded) == repr(model)


class Depthwise(nn.Module):
    """Adds a branch of one channel for each group."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv1d(1, 12, 1), nn.Conv1d(12, 4, 1)
        self.each = nn.Conv1d(12, 12, 3, padding=1, groups=12)
        self.end = nn.Conv1d(12, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.end(self.each(x.relu()).relu()))


def test_a_branch_that_went_after_some_of_its_groups_is_loaded(tmp_path):
    model, x = Depthwise(), torch.randn(2, 1, 16)
    zero([0, 1, 2], model.each.weight, model.each.bias, model.end.weight.mT)
    zero([0, 1, 2], model.first.weight, model.first.bias, model.end.weight, model.end.bias)
    compact(model, x, latency=False)
    assert model.each.groups == 9
    zero(list(range(9)), model.end.weight, model.end.bias)
    compact(model, x, latency=False)
    assert not model.each.weight.numel()
    save_compact(model, tmp_path / "small.safetensors")
    loaded = load_compact(Depthwise(), tmp_path / "small.safetensors")
    assert torch.equal(loaded(x), model(x))


def test_the_file_holds_tensors_and_json_only(small, tmp_path):
    save_compact(small, tmp_path / "small.safetensors")
    with safe_open(tmp_path / "small.safetensors", framework="pt") as file:
        texts = file.metadata()
        names = set(file.keys())
    assert texts.pop("format") == "lightning_prune/3"
    metadata = {name: json.loads(text) for name, text in texts.items()}
    assert names == set(small.state_dict())
    assert metadata["plan"]["attributes"] == [
        {"module": "each", "name": "groups", "before": 8, "after": 5}
    ]
    assert {"tensor": "head.weight", "dim": 1, "size": 8, "kept": [3, 4, 5, 6, 7]} in (
        metadata["plan"]["axes"]
    )
    tensors = {f"tensor {name}" for name in names}
    assert set(metadata["sha256"]) == tensors | {"plan", "tied", "proof"}


def test_the_proof_names_versions_and_errors(small, x, tmp_path):
    report = compact(Net().eval(), x, latency=False)
    save_compact(small, tmp_path / "small.safetensors", report=report)
    proof = CompactFile.read(tmp_path / "small.safetensors").proof
    assert proof["lightning_prune"] == lightning_prune.__version__
    assert proof["torch"] == torch.__version__
    assert proof["max_rel_error"] == report.max_rel_error


def test_a_module_of_two_names_is_loaded(tmp_path):
    def build() -> nn.Sequential:
        twice = nn.Linear(6, 6)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), twice, nn.ReLU(), twice, nn.Linear(6, 3))

    x = torch.randn(3, 4)
    model = halved(build(), (x,)).eval()
    assert compact(model, x, latency=False).removed == 3
    save_compact(model, tmp_path / "small.safetensors")
    loaded = load_compact(build().eval(), tmp_path / "small.safetensors")
    assert loaded[2] is loaded[4]
    assert torch.equal(loaded(x), model(x))


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
    with pytest.raises(
        ValueError, match=r"got first\.weight \(4, 3, 3, 3\), of which .* another size than 8"
    ):
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
        self.act, self.depth = "F.relu", 3
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

    def revision(self) -> str:
        return subprocess.run(["git", "--version"], capture_output=True, text=True).stdout


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


def altered(path: Path, change: Callable[[Any], Any]) -> Path:
    """Write a file with another plan, and with the checksums of that plan."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dict
    plan = json.loads(metadata["plan"])
    change(plan)
    metadata["plan"] = json.dumps(plan)
    texts = {name: metadata[name] for name in ("plan", "tied", "proof")}
    metadata["sha256"] = json.dumps(checksums(tensors, texts))
    save_file(tensors, path.with_name("altered.safetensors"), metadata)
    return path.with_name("altered.safetensors")


def state(model: nn.Module) -> list[Any]:
    """Return everything of every module, and what its tensors are and hold."""
    tensors = [*model.parameters(), *model.buffers()]
    return [
        [
            (type(m), {k: v for k, v in vars(m).items() if k[0] != "_"}, set(vars(m)))
            for m in model.modules()
        ],
        [(id(t), t.data_ptr(), t.shape, t.requires_grad, t.tolist()) for t in tensors],
    ]


def assert_refused(model: nn.Module, path: Path, match: str) -> None:
    """Assert that a file is refused, and the model stays as it was."""
    before = state(model)
    with pytest.raises(ValueError, match=match):
        load_compact(model, path)
    assert state(model) == before


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "other source": (
        lambda plan: plan["edits"][0].update(digest="of another time"),
        "source of Hard.forward has changed. Use the version",
    ),
    "a module that is missing": (
        lambda plan: plan["edits"][0].update(module="gone"),
        "tensors that the model lacks: gone",
    ),
    "a tensor that is missing": (
        lambda plan: plan["axes"][0].update(tensor="gone"),
        "tensors that the model lacks: gone",
    ),
    "a method that forward does not run": (
        lambda plan: plan["edits"][0].update(method="revision"),
        "Hard.revision, which forward does not run",
    ),
    "another position in the source": (
        lambda plan: plan["edits"][0]["path"][0].__setitem__(2, 0),
        "the call is not found",
    ),
    "a correction of another call": (
        lambda plan: plan["edits"][0].update(correction={"kind": "rescale_mean", "share": 0.5}),
        "RescaleMean does not fit",
    ),
    "an unknown correction": (
        lambda plan: plan["edits"][0].update(correction={"kind": "eval", "text": "1"}),
        "Expected a correction to be one of",
    ),
    "a whole method": (
        lambda plan: plan["edits"][0].update(path=[]),
        "which is to do nothing, but keeps its parameters",
    ),
    "an attribute that is no size": (
        lambda plan: plan["attributes"][0].update(name="depth", before=3, after=2),
        "depth, which its code does not pass as a size",
    ),
    "an attribute that is text": (
        lambda plan: plan["attributes"][0].update(name="act", before="F.relu", after="evil()"),
        "Expected `attributes` in the plan of the file to be sizes",
    ),
    "an attribute of another value": (
        lambda plan: plan["attributes"][0].update(before=9),
        "width = 8 instead of 9",
    ),
    "an attribute that grows": (
        lambda plan: plan["attributes"][0].update(after=16),
        "width = 16 in the file",
    ),
    "a swap that does not fit": (
        lambda plan: plan["swaps"][0].update(module="first"),
        "which does not fit first",
    ),
    "another full width": (
        lambda plan: plan["swaps"][-1].update(swap={"kind": "widen_norm", "full_width": 9}),
        "which does not fit norm",
    ),
    "other positions": (
        lambda plan: plan["axes"][0]["kept"].pop(),
        "shapes that do not fit",
    ),
    "positions out of order": (
        lambda plan: plan["axes"][0]["kept"].reverse(),
        "ascending positions",
    ),
    "a parameter that is frozen": (
        lambda plan: plan["frozen"].append("first.weight"),
        "more than a single number",
    ),
    "nothing": (lambda plan: plan.clear(), "Expected `plan` in the plan of the file"),
}


@pytest.mark.parametrize(("change", "match"), CHANGES.values(), ids=CHANGES)
def test_plans_that_would_do_anything_else_are_refused(hard, tmp_path, change, match):
    save_compact(hard[0], tmp_path / "hard.safetensors")
    assert_refused(Hard(), altered(tmp_path / "hard.safetensors", change), match)


def test_a_model_that_is_compact_already_is_refused(hard, tmp_path):
    save_compact(hard[0], tmp_path / "hard.safetensors")
    assert_refused(copy.deepcopy(hard[0]), tmp_path / "hard.safetensors", "compact already")


@pytest.mark.parametrize("at", [0, 4, 20, 200, -1, -100])
def test_a_file_with_a_flipped_bit_is_refused(small, tmp_path, at):
    path = tmp_path / "small.safetensors"
    save_compact(small, path)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert_refused(Net(), path, "Expected")


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_file_that_is_cut_off_is_refused(small, tmp_path, length):
    path = tmp_path / "small.safetensors"
    save_compact(small, path)
    path.write_bytes(path.read_bytes()[:length])
    assert_refused(Net(), path, "cannot be read")


def test_a_device_without_an_end_is_not_read(tmp_path):
    path = tmp_path / "small.safetensors"
    path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"to be a file, but got .* a folder or a device"):
        load_compact(Net(), path)


def test_a_file_that_is_missing_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_compact(Net(), tmp_path / "gone.safetensors")


def test_swapped_tensors_are_refused(small, tmp_path):
    path = tmp_path / "small.safetensors"
    save_compact(small, path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dict
    tensors["norm.weight"], tensors["norm.bias"] = tensors["norm.bias"], tensors["norm.weight"]
    save_file(tensors, path, metadata)
    assert_refused(Net(), path, "damaged")


def test_another_type_is_refused(small, tmp_path):
    save_compact(small, tmp_path / "small.safetensors")
    match = "in torch.float32, as the file does, but got one in torch.float64"
    assert_refused(Net().double(), tmp_path / "small.safetensors", match)
    with torch.device("meta"):
        model = Net()
    with pytest.raises(ValueError, match="without memory"):
        load_compact(model, tmp_path / "small.safetensors")


class Cached(nn.Module):
    """A cache by batch size, of which the key is a whole number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
        self.size, self.positions = -1, None

    def forward(self, x: Tensor) -> Tensor:
        if len(x) != self.size:
            self.positions, self.size = torch.arange(len(x)).float()[:, None], len(x)
        return self.last(self.first(x).relu()) + self.positions


@pytest.mark.parametrize("used", [False, True])
def test_attributes_that_compaction_has_not_changed_are_not_written(used, tmp_path):
    model, x = Cached(), torch.randn(4, 8)
    with torch.no_grad():
        model.first.weight[8:] = 0
        model.first.bias[8:] = 0
    compact(model, x, latency=False)
    expected = model(x)
    save_compact(model, tmp_path / "cached.safetensors")
    fresh = Cached()
    if used:
        fresh(x[:1])
    loaded = load_compact(fresh, tmp_path / "cached.safetensors")
    assert loaded.size == (1 if used else -1)
    assert torch.equal(loaded(x), expected)


class Gained(nn.Module):
    """A buffer that no state dict holds is cut with a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 32), nn.Linear(32, 4)
        self.register_buffer("gain", torch.arange(32.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu() * self.gain)


def test_buffers_that_no_state_dict_holds_are_stored_where_they_are_cut(tmp_path):
    x = torch.randn(2, 8)
    model = halved(Gained(), (x,)).eval()
    compact(model, x, latency=False)
    assert model.gain.shape == (16,)
    save_compact(model, tmp_path / "gained.safetensors")
    loaded = load_compact(Gained().eval(), tmp_path / "gained.safetensors")
    assert torch.equal(loaded.gain, model.gain)
    assert torch.equal(loaded(x), model(x))


class Net2(nn.Module):
    """A net inside of another."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = Hard(), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.inner(x).relu())


def test_a_part_of_a_compact_model_is_saved_by_itself(tmp_path):
    x = torch.randn(2, 4, 5)
    model = halved(Net2(), (x,)).eval()
    compact(model, x, latency=False)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    save_compact(copied.inner, tmp_path / "inner.safetensors")
    loaded = load_compact(Hard().eval(), tmp_path / "inner.safetensors")
    assert torch.equal(loaded(x), model.inner(x))


def test_a_model_that_was_compacted_twice_is_loaded_in_one_step(tmp_path):
    x = torch.randn(2, 4, 5)
    model = Hard().eval()
    for _ in range(2):
        model = halved(model, (x,))
        report = compact(model, x, latency=False)
        assert report.removed
    assert model.first.weight.shape[0] == 2
    save_compact(model, tmp_path / "twice.safetensors")
    loaded = load_compact(Hard().eval(), tmp_path / "twice.safetensors")
    assert torch.equal(loaded(x), model(x))
    assert plan_of(loaded) == plan_of(model)


def test_state_that_is_no_tensor_is_refused(tmp_path):
    class Stateful(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"steps": 3}

    with pytest.raises(ValueError, match="`get_extra_state`, which a file of tensors cannot hold"):
        save_compact(nn.Sequential(Stateful(2, 2)), tmp_path / "other.safetensors")


def test_a_write_that_fails_leaves_the_old_file(small, x, tmp_path, monkeypatch):
    path = tmp_path / "small.safetensors"
    save_compact(small, path)
    before = path.read_bytes()
    monkeypatch.setattr(compact_file.os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_compact(small, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("tied", [{"one": "other"}, {"third": "fourth"}])
def test_further_names_are_of_tensors_that_are_there_and_of_no_others(tied, tmp_path):
    tensors = {"one": torch.ones(1), "other": torch.zeros(1)}
    CompactFile(tensors, tied, Plan(), {}).write(tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match="further names of tensors"):
        CompactFile.read(tmp_path / "small.safetensors")


def test_a_full_disk_is_told(small, tmp_path, monkeypatch):
    def full(*unused):
        raise SafetensorError("no space left")

    monkeypatch.setattr(compact_file, "save_file", full)
    with pytest.raises(OSError, match=r"no space left\. Free space"):
        save_compact(small, tmp_path / "small.safetensors")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64, torch.bool, torch.int8])
def test_tensors_of_every_type_and_value_travel(dtype, tmp_path):
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("held", torch.zeros(2, 2, dtype=dtype))
            self.register_buffer("single", torch.zeros((), dtype=dtype))
            self.register_buffer("none", torch.zeros(0, 3, dtype=dtype))

    model = Holder()
    model.held[0] = torch.tensor(float("nan") if dtype.is_floating_point else 1)
    save_compact(model, tmp_path / "held.safetensors")
    loaded = load_compact(Holder(), tmp_path / "held.safetensors")
    for name, tensor in model.named_buffers():
        assert torch.equal(loaded.get_buffer(name).isnan(), tensor.isnan())
        assert torch.equal(loaded.get_buffer(name)[tensor == tensor], tensor[tensor == tensor])


class Encoder(nn.Module):
    """Has a method of its own that is called from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)

    def encode(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x.flatten(1).view(x.shape[0], -1, 8))


def test_methods_that_are_called_from_outside_are_corrected_in_files_too(tmp_path):
    x = torch.randn(2, 4, 5)
    model = Encoder().eval()
    with torch.no_grad():
        model.first.weight[:4] = 0
        model.first.bias[:4] = 0
    compact(model, Call("encode", x), latency=False)
    assert plan_of(model).methods == ("encode",)
    save_compact(model, tmp_path / "encoder.safetensors")
    loaded = load_compact(Encoder().eval(), tmp_path / "encoder.safetensors")
    assert torch.equal(loaded.encode(x), model.encode(x))
    path = altered(tmp_path / "encoder.safetensors", lambda plan: plan["methods"].clear())
    assert_refused(Encoder(), path, "Encoder.encode, which forward does not run")


@pytest.mark.parametrize(
    ("error", "raised"), [(RuntimeError("no room"), ValueError), (KeyboardInterrupt(), None)]
)
def test_a_model_is_as_it_was_where_loading_fails_half_way(
    error, raised, hard, tmp_path, monkeypatch
):
    """Sizes, classes and some tensors are those of the file by then."""
    save_compact(hard[0], tmp_path / "hard.safetensors")
    replace, loaded = Surgery.replace, []

    def fail(surgery, tensor, data):
        replace(surgery, tensor, data)
        if tensor.shape == data.shape and type(surgery._model.attention) is TensorSizedAttention:
            loaded.append(tensor)
        if len(loaded) == 5:
            raise error

    model = Hard()
    before = state(model)
    monkeypatch.setattr(Surgery, "replace", fail)
    with pytest.raises(raised or type(error)):
        load_compact(model, tmp_path / "hard.safetensors")
    assert len(loaded) == 5
    assert state(model) == before


def test_checksums_tell_types_and_shapes_apart():
    numbers = torch.arange(6, dtype=torch.float32)
    same_bytes = [numbers, numbers.view(torch.int32), numbers.view(2, 3), numbers.view(3, 2)]
    assert len({checksums({"w": one}, {})["tensor w"] for one in same_bytes}) == 4
