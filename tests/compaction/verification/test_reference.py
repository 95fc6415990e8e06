"""The masked model runs when it is asked for, once, and what could not be tried is said."""

import pytest
import torch
from support.nets import Net
from torch import nn

from lightning_prune.compaction.verification import memory, reference
from lightning_prune.compaction.verification.reference import Reference
from lightning_prune.errors import ExampleInputsError, VerificationError
from lightning_prune.modules.inputs import ExampleInputs


def of(model, *inputs):
    return Reference(model, [ExampleInputs.of(inputs)])


class Counting(nn.Module):
    """Counts its calls, over all copies."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        type(self).calls += 1
        return self.last(x)


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(Counting, "calls", 0)
    return Counting()


def test_every_trial_runs_once_and_late(counting):
    found = of(counting, torch.randn(4, 3))
    assert Counting.calls == 1
    first = list(found)
    calls = Counting.calls
    assert calls > len(first) > 3
    assert [a is b for a, b in zip(first, list(found), strict=True)] == [True] * len(first)
    assert Counting.calls == calls


def test_examples_are_cut_to_two():
    found = next(iter(of(nn.Linear(3, 2), torch.randn(9, 3))))
    assert found.steps[0].inputs.batch_size == 2


def test_a_model_that_needs_its_whole_batch_gets_it():
    net = Net(lambda m, x: m.last(x.view(6, 3)), last=nn.Linear(3, 2))
    assert next(iter(of(net, torch.randn(6, 3)))).steps[0].inputs.batch_size == 6


def test_every_example_counts():
    net = Net(lambda m, x: m.last(x), last=nn.Linear(3, 2))
    examples = [ExampleInputs.of(torch.randn(2, 3)), ExampleInputs.of(torch.randn(2, 4, 3))]
    trials = list(Reference(net, examples))
    for dim in (2, 3):
        mine = [t for t in trials if t.steps[0].inputs.tensors[0].dim() == dim]
        assert [len(t.steps) for t in mine if t.dtype == torch.float64] == [2]
        assert any(t.is_variant for t in mine)


def test_inputs_on_which_the_model_does_not_run_are_refused():
    with pytest.raises(ExampleInputsError, match="raised RuntimeError"):
        of(nn.Linear(3, 2), torch.randn(4, 5))


def test_a_model_that_returns_nothing_comparable_is_refused():
    net = Net(lambda m, x: None, last=nn.Linear(3, 2))
    with pytest.raises(VerificationError, match="return tensors of real numbers"):
        of(net, torch.randn(4, 3))


@pytest.mark.parametrize("x", [torch.zeros(0, 3), torch.full((2, 3), torch.nan)])
def test_without_a_finite_output_nothing_is_proved(x):
    with pytest.raises(VerificationError, match="got none that is finite, so nothing can be"):
        of(nn.Linear(3, 2), x)


def told(model, *inputs):
    """Return what was tried, and what was not."""
    found = of(model, *inputs)
    list(found)
    return found.tried, found.untried


def test_what_was_tried_is_said():
    tried, untried = told(nn.Conv2d(3, 2, 3), torch.randn(2, 3, 8, 8))
    assert tried[:5] == [
        "float32",
        "float64",
        "train mode",
        "larger sizes and a batch of 1",
        "smaller sizes and a batch of 3",
    ]
    assert untried == []


def test_a_fixed_size_is_said():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    tried, untried = told(model, torch.randn(2, 3, 4, 4))
    assert {"a batch of 3", "a batch of 1"} <= set(tried)
    assert [one.split(":")[0] for one in untried] == ["larger sizes", "smaller sizes"]
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in untried[0]


def needs_targets(m, x):
    if m.training:
        raise ValueError("targets are missing")
    return m.last(x)


def test_a_model_that_does_not_train_alone_is_said():
    net = Net(needs_targets, last=nn.Linear(3, 2))
    tried, untried = told(net, torch.randn(4, 3))
    assert "train mode: ValueError: targets are missing" in untried
    assert "float64" in tried
    assert "train mode" not in tried


def test_chance_in_train_mode_is_said():
    net = Net(lambda m, x: m.last(x + m.training * torch.randn_like(x)), last=nn.Linear(3, 2))
    tried, untried = told(net, torch.randn(4, 3))
    assert untried == ["train mode: the model draws random numbers"]
    assert "float64" in tried
    exact = [t for t in of(net, torch.randn(4, 3)) if t.dtype == torch.float64]
    assert [[step.training for step in trial.steps] for trial in exact] == [[False]]


def test_chance_without_consequence_does_not_matter():
    net = Net(lambda m, x: (torch.rand(2), m.last(x))[1], last=nn.Linear(3, 2))
    assert "train mode" in told(net, torch.randn(4, 3))[0]


def test_a_model_that_insists_on_float32_is_tried_in_float32():
    net = Net(lambda m, x: m.last(x.float()), last=nn.Linear(3, 2))
    found = of(net, torch.randn(4, 3))
    trials = list(found)
    assert {t.dtype for t in trials} == {torch.float32}
    assert [len(t.steps) for t in trials][:2] == [1, 2]
    assert found.untried[0].startswith("float64: RuntimeError: mat1 and mat2 must have the same")


def test_a_model_that_casts_to_float32_is_tried_in_float32():
    net = Net(lambda m, x: m.last(x.float().to(m.last.weight)), last=nn.Linear(3, 2)).double()
    found = of(net, torch.randn(4, 3))
    assert {t.dtype for t in found} == {torch.float32}
    assert found.untried == ["float64: the model casts to fewer digits"]
    assert "train mode" in found.tried


def test_without_memory_for_a_copy_it_is_tried_in_float32(monkeypatch):
    monkeypatch.setattr(memory, "_free_memory", lambda: 0)
    found = of(nn.Linear(3, 2), torch.randn(4, 3))
    assert {t.dtype for t in found} == {torch.float32}
    assert found.untried == ["float64: not enough memory for a copy"]


@pytest.mark.parametrize(
    ("seconds", "size", "where"), [(0.0, 4, " on smaller inputs"), (100.0, 8, "")]
)
def test_a_slow_model_runs_in_float64_on_smaller_sizes(seconds, size, where, monkeypatch):
    monkeypatch.setattr(reference, "_SLOW_SECONDS", seconds)
    found = of(nn.Conv2d(3, 2, 3), torch.randn(2, 3, 8, 8))
    exact = next(t for t in found if t.dtype == torch.float64)
    assert {step.inputs.tensors[0].shape[2:] for step in exact.steps} == {(size, size)}
    assert found.tried[:3] == ["float32", f"float64{where}", f"train mode{where}"]


def test_large_inputs_are_made_smaller_for_float64():
    found = of(nn.Conv2d(3, 2, 3), torch.randn(1, 3, 224, 224))
    exact = next(t for t in found if t.dtype == torch.float64)
    assert exact.steps[0].inputs.tensors[0].shape[2:] == (112, 112)
    assert found.tried[:2] == ["float32", "float64 on smaller inputs"]


def norms_by_several(m, x):
    h = m.last(x)
    return h / h.square().mean() if m.training and len(x) > 1 else h


def test_an_example_trains_with_another_whatever_it_does_alone():
    found = of(Net(norms_by_several, last=nn.Linear(3, 2)), torch.randn(1, 3))
    (trained,) = [t for t in found if t.steps[0].training]
    assert trained.steps[0].inputs.batch_size == 2
    alone, together = (run.leaves[0] for run in reversed(trained.runs))
    assert not torch.allclose(alone, together[:1])


def test_a_slow_model_that_takes_no_other_size_runs_in_float64_on_its_own(monkeypatch):
    monkeypatch.setattr(reference, "_SLOW_SECONDS", 0.0)
    found = of(nn.Linear(3, 2), torch.randn(4, 3))
    assert next(t for t in found if t.dtype == torch.float64).steps[0].inputs.batch_size == 2


def test_without_time_only_what_is_basic_is_tried(monkeypatch):
    monkeypatch.setattr(reference, "_MOST_SECONDS", 0.0)
    found = of(nn.Conv2d(3, 2, 3), torch.randn(2, 3, 8, 8))
    list(found)
    assert found.tried[3:] == ["larger sizes and a batch of 1", "smaller sizes and a batch of 3"]
    assert "values ten times as large" in found.no_time


def test_a_model_of_few_digits_is_tried_in_its_own_arithmetic():
    trials = list(of(nn.Linear(3, 2).bfloat16(), torch.randn(2, 3)))
    (own,) = [t for t in trials if t.dtype is None]
    assert own.runs[0].leaves[0].dtype == torch.bfloat16
    assert own.truth[0].leaves[0].dtype == torch.float64
