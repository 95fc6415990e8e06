"""Verification catches what is not the same, and changes nothing."""

import copy
import logging

import pytest
import torch
from support.nets import Net
from support.oracle import half_of_every_group, randomize, zeroed
from support.tiny_zoo import ZOO, PlainCnn
from torch import Tensor, nn

from lightning_prune.compaction.plan import plan_removal
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import verification
from lightning_prune.compaction.verification.verification import TOLERANCES, Verification
from lightning_prune.coupling import couple
from lightning_prune.errors import ExampleInputsError, VerificationError
from lightning_prune.modules.inputs import ExampleInputs

X = torch.randn(4, 3, 8, 8)


def prove(model: nn.Module, *inputs: Tensor) -> Verification:
    return Verification(model, [ExampleInputs.of(inputs or X)])


def compacted() -> tuple[nn.Module, Verification]:
    """Return a model after surgery, and the verification made before it."""
    model = randomize(PlainCnn())
    coupling = couple(model, X)
    removed = half_of_every_group(coupling.groups)
    model = zeroed(model, coupling.groups, removed, ["out in"] * len(removed))
    proof = prove(model)
    Surgery(model).apply(plan_removal(coupling.groups, removed, coupling.grouped))
    return model, proof


def test_a_right_surgery_passes_with_its_errors():
    model, proof = compacted()
    errors = proof.check(model)
    assert 0 <= errors.max_rel_error <= TOLERANCES[torch.float32]
    assert 0 <= errors.max_abs_error <= 1e-4


def test_a_model_equals_itself_exactly():
    model = randomize(PlainCnn())
    errors = prove(model).check(model)
    assert (errors.max_abs_error, errors.max_rel_error) == (0.0, 0.0)


def test_one_tampered_weight_is_caught():
    model, proof = compacted()
    with torch.no_grad():
        model.conv1.weight[0, 0, 0, 0] += 1e-3
    with pytest.raises(VerificationError, match="outputs differ by"):
        proof.check(model)


def test_what_float32_cannot_see_float64_catches():
    model = randomize(PlainCnn().double())
    proof = prove(model)
    with torch.no_grad():
        model.head.weight[0, 0] += 1e-8
    with pytest.raises(VerificationError, match=r"in torch.float64, more than 1e-10"):
        proof.check(model)


def test_a_tampered_statistic_is_caught():
    model, proof = compacted()
    model.bn1.running_mean[0] += 0.1
    with pytest.raises(VerificationError, match="outputs differ by"):
        proof.check(model)


def test_a_model_that_no_longer_runs_is_caught_with_the_reason():
    model, proof = compacted()
    model.conv2.weight.data = model.conv2.weight.data[:, :2]
    with pytest.raises(VerificationError, match="channels"):
        proof.check(model)


def test_another_shape_of_the_output_is_caught():
    model, proof = compacted()
    model.head = nn.Linear(model.head.in_features, 9)
    with pytest.raises(VerificationError, match=r"outputs have shapes .*\(4, 9\)"):
        proof.check(model)


def test_not_a_number_is_caught():
    model, proof = compacted()
    model.head.bias.data[0] = torch.nan
    with pytest.raises(VerificationError, match="where they are finite"):
        proof.check(model)


def test_an_output_that_is_zero_must_stay_zero():
    model = nn.Linear(3, 2)
    model.weight.data.zero_()
    model.bias.data.zero_()
    proof = prove(model, torch.randn(4, 3))
    model.bias.data[0] = 1e-30
    with pytest.raises(VerificationError, match="outputs differ by"):
        proof.check(model)


def test_a_size_that_is_right_for_one_batch_only_is_caught():
    net = Net(lambda m, x: x[: m.rows] if len(x) == 4 else x.exp())
    net.rows = 4
    proof = prove(net, torch.randn(4, 3))
    net.forward = lambda x: x[:4] if len(x) == 4 else x.sin()
    with pytest.raises(VerificationError, match="outputs differ by"):
        proof.check(net)


@pytest.mark.parametrize("example", ZOO.values(), ids=ZOO)
def test_nothing_is_changed(example):
    model = randomize(example.build().train())
    inputs = example.inputs()
    state, given = copy.deepcopy(model.state_dict()), copy.deepcopy(inputs)
    torch.manual_seed(5)
    random_state = torch.get_rng_state()
    Verification(model, [ExampleInputs.of(inputs)]).check(model)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(x, y) for x, y in zip(inputs, given, strict=True))
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    assert next(model.parameters()).dtype == torch.float32


def test_a_model_that_writes_into_its_inputs_equals_itself():
    net = Net(lambda m, x: m.last(x.mul_(3)), last=nn.Linear(3, 2))
    assert prove(net, torch.randn(4, 3)).check(net).max_abs_error == 0


def test_chance_is_the_same_for_both():
    net = Net(lambda m, x: m.last(x + torch.rand_like(x)), last=nn.Linear(3, 2))
    assert prove(net, torch.randn(4, 3)).check(net).max_abs_error == 0


def test_a_model_that_insists_on_float32_is_verified_in_float32(caplog):
    net = Net(lambda m, x: m.last(x.float()), last=nn.Linear(3, 2))
    with caplog.at_level(logging.WARNING):
        proof = prove(net, torch.randn(4, 3))
    assert "Verified in float32 only" in caplog.text
    net.last.weight.data[0, 0] += 0.1
    with pytest.raises(VerificationError, match=r"torch.float32"):
        proof.check(net)


def test_without_memory_for_a_copy_it_is_verified_in_float32(monkeypatch, caplog):
    monkeypatch.setattr(verification, "_has_room", lambda model: False)
    model = randomize(PlainCnn())
    with caplog.at_level(logging.WARNING):
        assert prove(model).check(model).max_abs_error == 0
    assert "Not enough memory" in caplog.text


def test_a_model_that_returns_nothing_comparable_is_refused():
    net = Net(lambda m, x: m.last(x).int(), last=nn.Linear(3, 2))
    net.forward = lambda x: None
    with pytest.raises(VerificationError, match="return tensors of real numbers"):
        prove(net, torch.randn(4, 3))


def test_a_model_that_returns_a_choice_is_held_to_what_it_chose_from():
    net = Net(lambda m, x: m.last(x).argmax(1), last=nn.Linear(3, 2))
    proof = prove(net, torch.randn(4, 3))
    assert proof.check(net).max_rel_error == 0
    net.last.bias.data[0] += 1e-3
    with pytest.raises(VerificationError, match="outputs differ by"):
        proof.check(net)


def test_a_tie_between_equals_may_fall_either_way():
    net = Net(lambda m, x: m.last(x)[:, torch.argsort(m.first(x).sum(0))].cumsum(1))
    net.first, net.last = nn.Linear(3, 4), nn.Linear(3, 4)
    net.first.weight.data[:] = net.first.weight.data[0]
    net.first.bias.data[:] = 0.1
    proof = prove(net, torch.randn(4, 3))
    net.first.bias.data += torch.tensor([3e-9, 2e-9, 1e-9, 0])  # within float32's rounding
    del proof._reference[torch.float64]
    assert proof.check(net).max_rel_error <= TOLERANCES[torch.float32]


class Auxiliary(nn.Module):
    """A head that runs in train mode alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.last = nn.Linear(8, 2)
        self.extra = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.first(x)
        return (self.last(x), self.extra(x)) if self.training else self.last(x)


def test_a_model_that_no_longer_trains_is_caught():
    model = Auxiliary().eval()
    proof = prove(model, torch.randn(4, 3))
    model.extra.weight.data = model.extra.weight.data[:, :4]
    with pytest.raises(VerificationError, match="no longer runs in train mode"):
        proof.check(model)


def test_another_shape_in_train_mode_is_caught():
    model = Auxiliary().eval()
    proof = prove(model, torch.randn(4, 3))
    model.extra = nn.Linear(8, 6)
    with pytest.raises(VerificationError, match=r"in train mode, .*\(4, 6\).*\(4, 5\)"):
        proof.check(model)


def test_inputs_on_which_the_model_does_not_run_are_refused():
    with pytest.raises(ExampleInputsError, match="raised RuntimeError"):
        prove(nn.Linear(3, 2), torch.randn(4, 5))


def sizes_seen(model: nn.Module, *inputs: Tensor) -> list[int]:
    """Return the batch sizes on which a model is verified."""
    proof = prove(model, *inputs)
    return [inputs.batch_size for inputs in proof.inputs]


def test_it_is_verified_on_two_batch_sizes():
    assert sizes_seen(nn.Linear(3, 2), torch.randn(9, 3)) == [4, 3]


def test_a_batch_of_one_is_doubled():
    assert sizes_seen(nn.Linear(3, 2), torch.randn(1, 3)) == [1, 2]


def test_a_model_that_takes_one_batch_size_only_is_verified_on_other_values():
    net = Net(lambda m, x: m.last(x.view(2, 3)), last=nn.Linear(3, 2))
    given = torch.randn(2, 3)
    first, second = prove(net, given).inputs
    assert (first.batch_size, second.batch_size) == (2, 2)
    assert not torch.equal(first.tensors[0], second.tensors[0])


def test_a_model_that_needs_its_whole_batch_is_verified_on_it():
    net = Net(lambda m, x: m.last(x.view(6, 3)), last=nn.Linear(3, 2))
    assert sizes_seen(net, torch.randn(6, 3)) == [6, 6]


def test_integers_are_varied_by_their_order():
    words = nn.Embedding(9, 4)
    first, second = prove(words, torch.arange(6).view(2, 3)).inputs
    assert second.tensors[0].tolist() == first.tensors[0].flip(-1)[:1].tolist()


@pytest.mark.parametrize("x", [X[:0], X * torch.nan], ids=["no example", "NaN"])
def test_without_a_finite_output_nothing_is_proved(x):
    with pytest.raises(VerificationError, match="got none that is finite, so nothing can be"):
        prove(randomize(PlainCnn()), x)


def test_a_model_that_casts_to_float32_is_held_to_float32():
    net = Net(lambda m, x: m.last(x.float().to(m.last.weight)), last=nn.Linear(3, 2)).double()
    proof = prove(net, torch.randn(4, 3))
    net.last.weight.data[0, 0] += 1e-8
    assert 0 < proof.check(net).max_rel_error < TOLERANCES[torch.float32]
