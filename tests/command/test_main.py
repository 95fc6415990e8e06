"""The command inspects, plans, verifies and exports; its exit status says how it went."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.command import main

MODEL = "command_model:net"


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def files() -> tuple[str, str]:
    """Write a masked model and its compact form."""
    model, x = net(), torch.randn(1, 4)
    lp.prune(model, x, sparsity=0.5, criterion=lp.Random())
    torch.save(model.state_dict(), "masked.pt")
    lp.compact(model, x, latency=False)
    lp.save_compact(model, "compact.safetensors")
    return "masked.pt", "compact.safetensors"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_inspect_says_what_can_be_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "inspect", MODEL, "--input", "1,4")
    assert text.startswith("56 of 58 parameters can be pruned")
    data = json.loads(run(capsys, "inspect", MODEL, "--input", "1,4", "--json"))
    assert (data["parameters"], data["prunable"]) == (58, 56)
    assert [group["units"] for group in data["groups"]] == [8]
    assert {frozen["axis"] for frozen in data["frozen"]} == {"2.weight[0]", "2.bias[0]"}


def test_inspect_draws_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "inspect", MODEL, "--input", "1,4", "--plot", "groups.png")
    assert Path("groups.png").read_bytes().startswith(b"\x89PNG")


def test_plan_is_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    common = ("plan", MODEL, "--input", "1,4", "--sparsity", "0.5")
    assert "compaction leaves 30 of 58 parameters" in run(capsys, *common)
    data = json.loads(run(capsys, *common, "--criterion", "Random", "--json"))
    assert (data["sparsity"], data["params_after"]) == (0.5, 30)


def test_plan_takes_milliseconds_in_place_of_a_fraction(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", MODEL, "--input", "1,4"]) == 2
    assert "Expected either `sparsity` or `latency_ms`" in capsys.readouterr().err
    assert main(["plan", MODEL, "--input", "1,4", "--latency-ms", "-1"]) == 2
    assert "latency_ms" in capsys.readouterr().err


def test_verify_tells_the_same_from_others(capsys: pytest.CaptureFixture[str]) -> None:
    masked, compact = files()
    common = ("verify", MODEL, masked)
    assert run(capsys, *common, compact, "--input", "2,4").startswith("the same: max_abs_error")
    data = json.loads(run(capsys, *common, compact, "--input", "2,4", "--json"))
    assert data["max_rel_error"] <= 1e-6
    assert data["tried"]
    torch.save(net().state_dict(), "other.pt")
    assert main([*common, "other.pt", "--input", "2,4"]) == 1
    assert "outputs differ" in capsys.readouterr().err


def test_export_writes_beside_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    _, compact = files()
    common = ("export", MODEL, compact, "--input", "1,4", "--formats", "torch.export")
    text = run(capsys, *common)
    assert "torch.export" in text
    assert list(Path().glob("compact*")) != [Path(compact)]
    data = json.loads(run(capsys, *common, "--path", "elsewhere", "--json"))
    assert data
    assert list(Path().glob("elsewhere*"))


def test_report_tells_what_a_run_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    model, x = net(), torch.randn(1, 4)
    pruned = lp.prune(model, x, sparsity=0.5, criterion=lp.Random())
    compacted = lp.compact(model, x, latency=False)
    lp.write_report("run", title="A run", pruning=pruned, compaction=compacted)
    text = run(capsys, "report", "run")
    assert text.startswith("A run")
    assert "parameters" in text
    assert text.strip().endswith("run/report.html")
    data = json.loads(run(capsys, "report", "run/report.json", "--json"))
    assert data["title"] == "A run"
    Path("empty.json").write_text("[]")
    for wrong in ("nowhere", ".", "empty.json"):
        assert main(["report", wrong]) == 2
        assert "the callback Report" in capsys.readouterr().err


def test_whole_numbers_are_inputs_too(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "inspect", "command_model:words", "--input", "int:1,3", "--details")
    assert "0.weight[1]" in text


WRONG = {
    "no_module": (("inspect", "nowhere:net", "--input", "1,4"), "module:factory"),
    "no_factory": (("inspect", "command_model:other", "--input", "1,4"), "module:factory"),
    "no_model": (("inspect", "command_model:number", "--input", "1,4"), "torch.nn.Module"),
    "no_input": (("inspect", MODEL), "sizes of the model's inputs"),
    "wrong_input": (("inspect", MODEL, "--input", "a,b"), "sizes such as"),
    "wrong_type": (("inspect", MODEL, "--input", "text:1,4"), "The types are"),
    "input_that_does_not_fit": (("inspect", MODEL, "--input", "1,5"), "example_inputs"),
    "no_file": (("verify", MODEL, "no.pt", "no.pt", "--input", "1,4"), "no.pt"),
    "no_format": (("export", MODEL, "w.pt", "--input", "1,4", "--formats", "x"), "formats"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(net().state_dict(), "w.pt")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def test_weights_of_another_model_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(nn.Linear(1, 1).state_dict(), "other.pt")
    assert main(["inspect", MODEL, "--input", "1,4", "--weights", "other.pt"]) == 2
    assert "state dict of the model" in capsys.readouterr().err


def test_a_target_out_of_reach_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", MODEL, "--input", "1,4", "--sparsity", "0.99"]) == 1
    assert capsys.readouterr().err.startswith("error: Expected `sparsity`")


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "lightning_prune", "inspect", MODEL, "--input", "1,4"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "56 of 58" in result.stdout


def test_without_jsonargparse_it_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jsonargparse", None)
    assert main(["inspect"]) == 2
    assert "lightning-prune[cli]" in capsys.readouterr().err
