"""A copy is used again only if running leaves it as it was."""

import pytest
import torch
from support.nets import Net
from torch import Tensor, nn

from lightning_prune.compaction.verification.copies import Copies
from lightning_prune.compaction.verification.runs import Pass, runs
from lightning_prune.modules.inputs import ExampleInputs

X = torch.randn(2, 3)


def lent(copies, trains=False, dtype=torch.float32):
    """Return a copy that has been run once."""
    with copies.borrowed(dtype, trains=trains) as copied, torch.no_grad():
        copied.train(trains)
        copied(X.to(dtype))
    return copied


class Keeping(nn.Module):
    def __init__(self, keep) -> None:
        super().__init__()
        self.keep, self.calls, self.seen, self.stats = keep, 0, [], {"calls": 0}
        self.last = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        self.keep(self)
        return self.last(x)


KEEPS = {
    "a number": lambda m: setattr(m, "calls", m.calls + 1),
    "a list": lambda m: m.seen.append(1),
    "a number in a dict": lambda m: m.stats.update(calls=m.stats["calls"] + 1),
    "a tensor": lambda m: setattr(m, "cache", torch.zeros(1)),
    "a buffer written to": lambda m: m.last.running_mean.add_(1),
    "another buffer": lambda m: setattr(m.last, "running_mean", torch.zeros(3)),
    "a mode": lambda m: m.last.train(),
}


@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
def test_what_keeps_something_is_made_anew(keep):
    copies = Copies(Keeping(keep))
    first = lent(copies)
    assert lent(copies) is not first


def test_what_keeps_nothing_is_used_again():
    copies = Copies(Keeping(lambda m: None))
    first = lent(copies)
    assert lent(copies) is first
    assert first is not copies.model
    assert not first.training


def fail(m):
    raise ValueError("half way")


def test_what_has_failed_is_made_anew():
    copies = Copies(Keeping(fail))
    with pytest.raises(ValueError, match="half way"):
        lent(copies)
    assert copies._kept is None


def test_what_was_not_run_to_the_end_is_used_again():
    copies = Copies(Keeping(lambda m: None))
    calls = runs(copies, [Pass(ExampleInputs.of(X))] * 2, torch.float32)
    next(calls)
    calls.close()
    assert copies._kept is not None


def test_every_copy_has_memory_of_its_own():
    model = nn.Linear(3, 2)
    copies = Copies(model)
    assert lent(copies).weight.data_ptr() != model.weight.data_ptr()
    trained = lent(copies, trains=True)
    assert trained.weight.data_ptr() != model.weight.data_ptr()
    assert lent(copies, trains=True) is not trained


def test_other_arithmetic_is_a_copy_of_its_own():
    copies = Copies(Net(lambda m, x: m.last(x), last=nn.Linear(3, 2)))
    assert lent(copies, dtype=torch.float64).last.weight.dtype == torch.float64
    assert copies.model.last.weight.dtype == torch.float32


def test_what_has_drawn_from_a_generator_of_its_own_is_made_anew():
    model = Keeping(lambda m: torch.randn(1, generator=m.generator))
    model.generator = torch.Generator().manual_seed(0)
    copies = Copies(model)
    lent(copies)
    assert copies._kept is None


def test_weights_are_copied_once_if_nothing_writes_to_them():
    copies = Copies(Keeping(fail))
    first, second = failed(copies), failed(copies)
    assert first is not second
    assert first.last.weight.data_ptr() == second.last.weight.data_ptr()
    assert first.last.weight.data_ptr() != copies.model.last.weight.data_ptr()


def failed(copies):
    """Return a copy that has failed."""
    try:
        with copies.borrowed(torch.float32, trains=False) as copied:
            copied(X)
    except ValueError:
        return copied
    raise AssertionError("it has not failed")


@pytest.mark.parametrize("trains", [False, True])
def test_weights_that_a_trial_wrote_to_are_copied_again(trains):
    copies = Copies(Keeping(lambda m: None))
    weight = copies.model.last.weight.clone()

    with copies.borrowed(torch.float32, trains=trains) as copied, torch.no_grad():
        copied.last.weight.add_(1)
    with copies.borrowed(torch.float32, trains=trains) as copied:
        assert torch.equal(copied.last.weight, weight)
    assert torch.equal(copies.model.last.weight, weight)
