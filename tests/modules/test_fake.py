"""Models without numbers are coupled by their shapes."""

import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

import lightning_prune as lp
from lightning_prune.modules.fake import fake_mode, real

X = torch.randn(2, 3, 8, 8)


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    )


def test_a_fake_model_couples_like_a_real_one():
    with FakeTensorMode() as mode:
        model, x = net(), torch.randn(2, 3, 8, 8)
        within = lp.couple(model, x)
    assert fake_mode(model.parameters()) is mode
    expected = lp.couple(net(), X).details()
    assert within.details() == expected
    assert lp.couple(model, x).details() == lp.couple(model, X).details() == expected
    assert all(
        member.positions is None or not fake_mode([member.positions])
        for group in within.groups
        for member in group.members
    )


def test_a_model_on_the_meta_device_couples_like_a_real_one():
    with torch.device("meta"):
        model = net()
    assert lp.couple(model, X).details() == lp.couple(net(), X).details()


def test_numbers_are_computed_within_a_fake_mode():
    with FakeTensorMode(), real():
        assert torch.ones(3).sum().item() == 3


LLAMA = """
    import re, sys
    from pathlib import Path
    import torch
    from torch._subclasses import FakeTensorMode
    from transformers import LlamaConfig, LlamaForCausalLM
    import lightning_prune as lp

    def coupled(layers):
        with FakeTensorMode():  # the configuration's defaults are those of 7 B parameters
            model = LlamaForCausalLM(LlamaConfig(use_cache=False, num_hidden_layers=layers))
            tokens = torch.randint(0, 9, (1, 16))
        return lp.couple(model, tokens).prunable

    def calls_of(layers):
        # Calls do not depend on how fast the machine is, as seconds do.
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        coupled(layers)
        sys.setprofile(None)
        return calls

    prunable = coupled(32)
    assert prunable > 6.6e9, prunable
    few, many = calls_of(4), calls_of(16)
    assert many < 1.25 * 4 * few, (few, many)
    # `ru_maxrss` would count the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak_gb = int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1e6
    assert peak_gb < 3, peak_gb
"""


@pytest.mark.slow
def test_seven_billion_parameters_take_three_gigabytes_and_calls_in_proportion_to_the_layers():
    # In a process of its own, whose peak of memory is that of the analysis.
    pytest.importorskip("transformers")
    script = [sys.executable, "-c", textwrap.dedent(LLAMA)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
