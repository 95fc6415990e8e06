"""Two processes end with the masks of one, on the same global batches, killed and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from support import ranks
from support.sharding import needs_shards_on_cpu

import lightning_prune as lp

KILLED_IN_EPOCH = 3


def run(mode: str, folder: Path, **options: Any) -> int:
    done = subprocess.run(
        [sys.executable, ranks.__file__, mode, str(folder), json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0 or "save" in options, done.stderr[-3000:]
    return done.returncode


def results(folder: Path, mode: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{mode}*.json"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "granularity"),
    [
        ("ddp", "Channel"),
        pytest.param("fsdp", "Channel", marks=needs_shards_on_cpu),
        pytest.param("fsdp", "Weight", marks=needs_shards_on_cpu),
    ],
)
def test_two_ranks_killed_and_resumed_end_as_one(
    mode: str, granularity: str, tmp_path: Path
) -> None:
    options = {"granularity": granularity, "criterion": "Gradient"}
    ranks.main("single", str(tmp_path), options)
    assert run(mode, tmp_path, **options, save=str(tmp_path)) != 0
    resume = str(tmp_path / f"epoch={KILLED_IN_EPOCH - 1}.ckpt")
    run(mode, tmp_path, **options, resume=resume, compact=granularity == "Channel")
    (one,) = results(tmp_path, "single")
    two = results(tmp_path, mode)
    assert len(two) == 2
    for rank in two:
        assert rank["kept"] == one["kept"]
        assert rank["sparsity"] == one["sparsity"] == pytest.approx(0.5, abs=0.05)
        assert rank["revived"] == 0
        assert rank["sharded"] == (mode == "fsdp")
    if granularity == "Weight":
        assert [rank["zeros"] for rank in two] == [one["zeros"]] * 2
        return
    assert two[0]["shapes"] == two[1]["shapes"]
    kept = [sum(group) for group in one["kept"]]
    full, compact = (
        [[n, 5], [n], [m, n], [m], [3, m], [3]] for n, m in ((13, 9), (kept[0], kept[1]))
    )
    # The sharded model keeps its size.
    assert two[0]["shapes"] == (full if mode == "fsdp" else compact)
    small = lp.load_compact(ranks.Net(), tmp_path / "small.safetensors")
    assert [list(p.shape) for p in small.parameters()] == compact
    with safe_open(tmp_path / "small.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("net.0.weight"), small.net[0].weight)


@pytest.mark.slow
def test_what_is_released_is_equal_on_two_ranks_and_when_they_were_killed_after_it(
    tmp_path: Path,
) -> None:
    options = {"granularity": "Channel", "criterion": "Gradient", "falls": True}
    ranks.main("single", str(tmp_path), options)
    assert run("ddp", tmp_path, **options, save=str(tmp_path)) != 0
    # It was killed in the epoch that starts with the release.
    checkpoint = tmp_path / f"epoch={KILLED_IN_EPOCH - 1}.ckpt"
    masks = torch.load(checkpoint, weights_only=True)["callbacks"]["Pruning(pruning)"]
    assert masks["sparsity"] == pytest.approx(0.5, abs=0.05)
    run("ddp", tmp_path, **options, resume=str(checkpoint))
    two = results(tmp_path, "ddp")
    assert len(two) == 2
    for rank in two:
        assert rank["sparsity"] == 0.0
        assert 0.0 not in rank["released"]
        assert rank["released"] == two[0]["released"]
        assert rank["weights"] == two[0]["weights"]
    (one,) = results(tmp_path, "single")
    assert one["released"] == pytest.approx(two[0]["released"], rel=1e-3, abs=1e-5)
    assert one["weights"] == pytest.approx(two[0]["weights"], rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_two_ranks_have_one_teacher_killed_and_resumed(tmp_path: Path) -> None:
    options = {"granularity": "Channel", "criterion": "Gradient", "distil": KILLED_IN_EPOCH - 1}
    ranks.main("single", str(tmp_path), options)
    assert run("ddp", tmp_path, **options, save=str(tmp_path)) != 0
    checkpoint = tmp_path / f"epoch={KILLED_IN_EPOCH - 1}.ckpt"
    run("ddp", tmp_path, **options, resume=str(checkpoint))
    two = results(tmp_path, "ddp")
    assert len(two) == 2
    assert all(rank["weights"] == two[0]["weights"] for rank in two)
    (one,) = results(tmp_path, "single")
    assert one["weights"] == pytest.approx(two[0]["weights"], rel=1e-3, abs=1e-5)
    ranks.main("single", str(tmp_path), {**options, "distil": 99})
    (alone,) = results(tmp_path, "single")
    assert alone["weights"] != pytest.approx(one["weights"], rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_activations_that_each_rank_sees_of_its_own_data_add_up(tmp_path: Path) -> None:
    options = {"granularity": "Channel", "criterion": "ActivationRate", "start": 1}
    ranks.main("single", str(tmp_path), options)
    run("ddp", tmp_path, **options)
    (one,) = results(tmp_path, "single")
    assert [rank["kept"] for rank in results(tmp_path, "ddp")] == [one["kept"]] * 2


@pytest.mark.slow
def test_two_ranks_become_compact_together_killed_and_resumed(tmp_path: Path) -> None:
    options = {"granularity": "Channel", "criterion": "Gradient"}
    ranks.main("single", str(tmp_path), {**options, "compact": True})
    (one,) = results(tmp_path, "single")
    options["compact"] = "during"
    assert run("ddp", tmp_path, **options, save=str(tmp_path)) != 0
    run("ddp", tmp_path, **options, resume=str(tmp_path / f"epoch={KILLED_IN_EPOCH - 1}.ckpt"))
    two = results(tmp_path, "ddp")
    assert len(two) == 2
    for rank in two:
        assert rank["weights"] == two[0]["weights"]
        assert rank["kept"] == one["kept"]
        assert rank["shapes"] == one["shapes"]
        assert rank["weights"] == pytest.approx(one["weights"], rel=1e-3, abs=1e-5)
    assert rank["sizes"] != one["sizes"][-len(rank["sizes"]) :]


@pytest.mark.slow
def test_two_ranks_fit_the_same_weights_to_the_data_of_both(tmp_path: Path) -> None:
    options = {"granularity": "Channel", "criterion": "Magnitude", "compensation": True}
    ranks.main("single", str(tmp_path), options)
    run("ddp", tmp_path, **options)
    (alone,) = results(tmp_path, "single")
    one, other = results(tmp_path, "ddp")
    assert one["weights"] == other["weights"]
    assert one["kept"] == alone["kept"]
    assert one["weights"] == pytest.approx(alone["weights"], rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_two_ranks_choose_the_same_candidate(tmp_path: Path) -> None:
    run("ddp", tmp_path, granularity="Channel", criterion="Auto", start=1)
    one, other = results(tmp_path, "ddp")
    assert len(one["tried"]) == 3
    assert one["tried"] == other["tried"]
    assert one["weights"] == other["weights"]


@pytest.mark.slow
def test_two_ranks_of_the_other_namespace_end_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"granularity": "Channel", "criterion": "Gradient"}
    ranks.main("single", str(tmp_path), options)
    monkeypatch.setenv("NAMESPACE", "pytorch_lightning")
    run("ddp", tmp_path, **options, compact=True)
    (one,) = results(tmp_path, "single")
    assert [rank["kept"] for rank in results(tmp_path, "ddp")] == [one["kept"]] * 2
    assert (tmp_path / "small.safetensors").exists()
