"""Compressed files hold the very tensors, in little room, and are held to the model like others."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.compaction.compact_file import checksums
from lightning_prune.compaction.packing.frames import squeezed

zstandard = pytest.importorskip("zstandard")
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def net(width: int = 16) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(width)
    layers = (nn.Conv2d(3, width, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 4))
    return nn.Sequential(*layers).eval()


def sparse() -> nn.Sequential:
    model = net()
    lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude(), granularity=lp.Channel())
    lp.compact(model, X, latency=False)
    lp.prune(model, X, sparsity=0.9, criterion=lp.Magnitude(), granularity=lp.Weight())
    return model


def bits(tensor: Tensor) -> list[int]:
    return tensor.contiguous().view(-1).view(torch.uint8).tolist()


def assert_same_bits(model: nn.Module, loaded: nn.Module) -> None:
    expected, found = model.state_dict(), loaded.state_dict()
    assert list(expected) == list(found)
    for name, tensor in expected.items():
        assert (found[name].dtype, bits(found[name])) == (tensor.dtype, bits(tensor)), name


def test_a_fresh_model_becomes_the_saved_one_bit_for_bit(tmp_path):
    model = sparse()
    lp.save_compact(model, tmp_path / "small", compress=True)
    lp.save_compact(model, tmp_path / "plain")
    loaded = lp.load_compact(net(), tmp_path / "small")
    assert_same_bits(model, loaded)
    assert loaded[0].out_channels == 8
    assert torch.equal(loaded(X), model(X))
    # Keys and the plan take as much as in a plain file.
    assert (tmp_path / "small").stat().st_size < 0.7 * (tmp_path / "plain").stat().st_size


def test_pruned_weights_are_zeros_without_a_sign():
    model = net()
    lp.prune(model, X, sparsity=0.9, criterion=lp.Magnitude(), granularity=lp.Weight())
    assert all(not p.signbit()[p == 0].any() for p in model.parameters())


def test_tied_weights_are_packed_once(tmp_path):
    model = nn.ModuleDict({"a": nn.Linear(4, 4, bias=False), "b": nn.Linear(4, 4, bias=False)})
    model["b"].weight = model["a"].weight
    lp.save_compact(model, tmp_path / "tied", compress=True)
    with safe_open(tmp_path / "tied", framework="pt") as file:
        assert list(file.keys()) == ["a.weight"]
    fresh = copy.deepcopy(model)
    nn.init.zeros_(fresh["a"].weight)
    lp.load_compact(fresh, tmp_path / "tied")
    assert fresh["b"].weight is fresh["a"].weight
    assert_same_bits(model, fresh)


def test_one_tensor_after_the_other_is_packed_and_unpacked(tmp_path):
    model = nn.Sequential(*(nn.Linear(400, 400, bias=False) for _ in range(10)))
    with torch.no_grad():
        for layer in model:
            layer.weight[:, 40:] = 0
    fresh, one = copy.deepcopy(model), 400 * 400 * 4
    tracemalloc.start()  # of numpy's memory and of bytes, not of torch's
    lp.save_compact(model, tmp_path / "small", compress=True)
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    lp.load_compact(fresh, tmp_path / "small")
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written < (tmp_path / "small").stat().st_size + 2 * one
    assert read < 4 * one


def altered(path: Path, change: Callable[[dict[str, Tensor], Any], Any]) -> Path:
    """Write a file with other frames or texts, and the checksums of these."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dict
    packed = json.loads(metadata["packed"])
    change(tensors, packed)
    metadata["packed"] = json.dumps(packed)
    texts = {name: metadata[name] for name in ("plan", "tied", "proof", "packed")}
    metadata["sha256"] = json.dumps(checksums(tensors, texts))
    save_file(tensors, path.with_name("altered"), metadata)
    return path.with_name("altered")


def bomb(tensors: dict[str, Tensor], packed: Any) -> None:
    """Put a frame of 64 MB of zeros in the place of a plane, in its 2 kB."""
    sizes = packed["4.weight"]["sizes"]
    frame = zstandard.ZstdCompressor().compress(bytes(2**26))
    data = tensors["4.weight"]
    rest = data[sizes[0] + sizes[1] :]
    frame_ = torch.frombuffer(bytearray(frame), dtype=torch.uint8)
    tensors["4.weight"] = torch.cat([data[: sizes[0]], frame_, rest])
    sizes[1] = len(frame)


def cut_off(tensors: dict[str, Tensor], packed: Any) -> None:
    tensors["4.weight"] = tensors["4.weight"][:-5].clone()
    packed["4.weight"]["sizes"][-1] -= 5


def out_of_range(tensors: dict[str, Tensor], packed: Any) -> None:
    sizes = packed["4.weight"]["sizes"]
    frame = squeezed(torch.full((400,), 255, dtype=torch.uint8).numpy())
    data = tensors["4.weight"][sizes[0] :]
    tensors["4.weight"] = torch.cat([torch.frombuffer(bytearray(frame), dtype=torch.uint8), data])
    sizes[0] = len(frame)


CHANGES: dict[str, tuple[Callable[[dict[str, Tensor], Any], Any], str]] = {
    "a bomb": (bomb, "frames of the sizes"),
    "a frame that is cut off": (cut_off, "frames of zstandard"),
    "positions out of range": (out_of_range, "told of by"),
    "another shape": (
        lambda _, p: p["4.weight"].update(shape=[4, 2**40]),
        "shapes that do not fit",
    ),
    "another type": (lambda _, p: p["4.weight"].update(dtype="int32"), "in torch.float32"),
    "a tensor that is not told of": (lambda _, p: p.pop("4.weight"), "the tensors that there are"),
    "a tensor too many": (lambda _, p: p.update(more=p["4.weight"]), "the tensors that there are"),
    "a text that is no object": (lambda _, p: p.update({"4.weight": [1]}), "told of by a form"),
}


@pytest.mark.parametrize(("change", "match"), CHANGES.values(), ids=CHANGES)
def test_hostile_files_are_refused_and_the_model_stays(change, match, tmp_path):
    lp.save_compact(sparse(), tmp_path / "small", compress=True)
    path, model = altered(tmp_path / "small", change), net()
    with pytest.raises(ValueError, match=match):
        lp.load_compact(model, path)
    assert_same_bits(net(), model)
    assert model[0].out_channels == 16


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_a_flipped_bit_is_found_by_its_checksum(at, tmp_path):
    lp.save_compact(sparse(), tmp_path / "small", compress=True)
    data = bytearray((tmp_path / "small").read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    data[header + int(at * (len(data) - header))] ^= 1
    (tmp_path / "small").write_bytes(bytes(data))
    with pytest.raises(ValueError, match="checksums"):
        lp.load_compact(net(), tmp_path / "small")


def test_only_yes_or_no_is_taken(tmp_path):
    with pytest.raises(TypeError, match="Expected `compress` to be"):
        lp.save_compact(net(), tmp_path / "small", compress="zstd")
