"""Models by name, weights of every kind, and inputs by their sizes."""

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lightning_prune as lp
from lightning_prune.command.loading import inputs_of, model_of

MODEL = "command_model:net"


def masked() -> tuple[nn.Module, torch.Tensor]:
    model, x = model_of(MODEL), torch.randn(3, 4)
    lp.prune(model, x, sparsity=0.5, criterion=lp.Random())
    return model, x


def test_state_dicts_and_compact_files_are_loaded():
    model, x = masked()
    expected = model(x)
    torch.save(model.state_dict(), "plain.pt")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, "checkpoint.ckpt")
    save_file(model.state_dict(), "plain.safetensors")
    lp.compact(model, x, latency=False)
    lp.save_compact(model, "compact.safetensors")
    for path in ("plain.pt", "checkpoint.ckpt", "plain.safetensors", "compact.safetensors"):
        loaded = model_of(MODEL, path)
        assert not loaded.training
        assert torch.allclose(loaded(x), expected, atol=1e-6), path


def test_the_working_directory_is_searched_for_the_call_alone():
    before = list(sys.path)
    model_of(MODEL)
    assert sys.path == before


@pytest.mark.parametrize("name", ["missing:net", "command_model:missing", "command_model"])
def test_what_is_not_there_is_refused(name):
    with pytest.raises(
        ValueError, match=f"module:factory, such as .* but got {re.escape(repr(name))}"
    ):
        model_of(name)


def test_what_makes_no_module_is_refused():
    with pytest.raises(TypeError, match=r"to make a torch\.nn\.Module, but got int"):
        model_of("command_model:number")


def test_weights_of_another_model_are_refused():
    torch.save(nn.Linear(2, 2).state_dict(), "other.pt")
    with pytest.raises(ValueError, match=r"a state dict of the model, but got other\.pt"):
        model_of(MODEL, "other.pt")


def test_a_pickle_that_runs_code_is_not_loaded():
    class Hostile:
        def __reduce__(self):
            return (Path("ran").write_text, ("",))

    torch.save(Hostile(), "hostile.pt")
    with pytest.raises(Exception, match="Weights only load failed"):
        model_of(MODEL, "hostile.pt")
    assert not Path("ran").exists()


def test_sizes_say_what_inputs_are():
    numbers, whole, true = inputs_of("2,3 int:1,4 bool:5")
    assert (numbers.shape, numbers.dtype) == ((2, 3), torch.float32)
    assert torch.equal(numbers, inputs_of("2,3")[0])
    assert torch.equal(whole, torch.zeros(1, 4, dtype=torch.int64))
    assert torch.equal(true, torch.ones(5, dtype=torch.bool))


@pytest.mark.parametrize("sizes", ["2,x", "float64:2", "2,-1", "int:"])
def test_what_are_no_sizes_is_refused(sizes):
    with pytest.raises(ValueError, match=f"sizes such as .* but got {re.escape(repr(sizes))}"):
        inputs_of(sizes)


def test_no_sizes_are_refused():
    with pytest.raises(ValueError, match=r"but got none\. Say --input"):
        inputs_of(" ")
