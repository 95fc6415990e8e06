"""The Fabric example runs, is killed and resumed, and ends as without that."""

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "fabric" / "train.py"


def run(folder: Path, *options: str) -> str:
    command = [
        sys.executable,
        str(EXAMPLE),
        "--width=8",
        "--epochs=6",
        f"--folder={folder}",
        *options,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    printed = run(whole)
    assert "epoch 3: asked 0.750, got 0.7" in printed
    assert max(map(len, printed.splitlines())) <= 100
    accuracy = [float(word) for word in printed.splitlines()[-1].split() if word[0] == "0"]
    assert accuracy[0] == accuracy[1] > 0.2

    # Killed in epoch 3: what is left is the checkpoint after epoch 2.
    script = EXAMPLE.read_text()
    dying = script.replace(
        "        torch.manual_seed(", "        assert epoch < 3\n        torch.manual_seed("
    )
    assert dying != script
    (killed / "dying.py").write_text(dying)
    command = [sys.executable, "dying.py", "--width=8", "--epochs=6", f"--folder={killed}"]
    assert subprocess.run(command, cwd=killed, capture_output=True).returncode == 1
    run(killed, "--resume")
    ends = [load_file(folder / "compact.safetensors") for folder in (whole, killed)]
    assert ends[0].keys() == ends[1].keys()
    assert all((ends[0][key] == ends[1][key]).all() for key in ends[0])
