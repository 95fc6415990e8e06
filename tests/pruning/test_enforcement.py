import pytest
import torch
from torch import nn

from lightning_prune.pruning.enforcement import Enforcement
from lightning_prune.units.weight_mask import WeightMask

MASK = torch.tensor([[True, False], [False, True]])


def masked(mask):
    return WeightMask(mask.shape, {-1: mask.flatten()})


def bound(dtype=torch.float32):
    weights = {
        "a": nn.Parameter(torch.ones(2, 2, dtype=dtype)),
        "b": nn.Parameter(torch.ones(3, dtype=dtype)),
    }
    return weights, Enforcement(weights, {"a": masked(MASK)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weights(dtype):
    weights, enforcement = bound(dtype)
    enforcement.mask_weights()
    assert torch.equal(weights["a"] != 0, MASK)
    assert (weights["b"] == 1).all()
    assert weights["a"].dtype == dtype


def test_weights_of_other_optimizers_are_not_written_to():
    weights, enforcement = bound()
    version = weights["a"]._version
    enforcement.mask_weights([weights["b"]])
    assert weights["a"]._version == version
    enforcement.mask_weights([weights["a"]])
    assert torch.equal(weights["a"] != 0, MASK)


def test_weights_that_change_type_later():
    weights, enforcement = bound()
    enforcement.mask_weights()
    weights["a"].data = torch.ones(2, 2, dtype=torch.float64)
    enforcement.mask_weights()
    assert torch.equal(weights["a"] != 0, MASK)


def test_channels_last_weights_keep_their_layout():
    weight = nn.Parameter(torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last))
    mask = torch.rand(2, 3, 4, 4) > 0.5
    Enforcement({"w": weight}, {"w": masked(mask)}).mask_weights()
    assert torch.equal(weight != 0, mask)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_masks_of_axes():
    mask = WeightMask(
        torch.Size([3, 2, 4]),
        {0: torch.tensor([True, False, True]), 2: torch.tensor([True, False, True, False])},
    )
    weight = nn.Parameter(torch.ones(3, 2, 4))
    weight.grad = torch.ones(3, 2, 4)
    enforcement = Enforcement({"w": weight}, {"w": mask})
    enforcement.mask_weights()
    enforcement.mask_gradients()
    expected = torch.zeros(3, 2, 4)
    expected[::2, :, ::2] = 1.0
    assert torch.equal(weight.detach(), expected)
    assert torch.equal(weight.grad, expected)
    assert torch.equal(mask.whole(), expected.bool())
    with torch.no_grad():
        weight[1, 0, 0] = 2.0
    assert enforcement.clear_weights() == {"w": 1}


def test_gradients():
    weights, enforcement = bound()
    enforcement.mask_gradients()
    weights["a"].grad, weights["b"].grad = torch.ones(2, 2), torch.ones(3)
    enforcement.mask_gradients()
    assert torch.equal(weights["a"].grad != 0, MASK)
    assert (weights["b"].grad == 1).all()


def test_sparse_gradients_stay():
    weights, enforcement = bound()
    weights["a"].grad = torch.ones(2, 2).to_sparse()
    enforcement.mask_gradients()
    assert (weights["a"].grad.to_dense() == 1).all()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_optimizer_state(name):
    weights, enforcement = bound()
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(list(weights.values()), lr=0.1, **options)
    for weight in weights.values():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    enforcement.mask_optimizer_state(optimizer)
    shaped = [v for v in optimizer.state[weights["a"]].values() if v.shape == MASK.shape]
    assert shaped
    assert all((v[~MASK] == 0).all() and (v[MASK] != 0).all() for v in shaped)
    others = [v for v in optimizer.state[weights["b"]].values() if v.shape == (3,)]
    assert all((v != 0).all() for v in others)


def test_optimizer_state_of_complex_numbers():
    weights, enforcement = bound(torch.complex64)
    optimizer = torch.optim.Adam([weights["a"]], lr=0.1)
    weights["a"].grad = torch.full_like(weights["a"], 1 + 1j)
    optimizer.step()
    enforcement.mask_optimizer_state(optimizer)
    state = optimizer.state[weights["a"]]
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(state[name] != 0, MASK)


def test_weights_that_are_not_zero_are_counted_and_cleared():
    weights, enforcement = bound()
    assert enforcement.clear_weights() == {"a": 2}
    assert torch.equal(weights["a"] != 0, MASK)
    assert enforcement.clear_weights() == {}
    with torch.no_grad():
        weights["a"][~MASK] = torch.tensor([torch.nan, 1e-45])
        weights["a"][0, 0] = torch.inf
    assert enforcement.clear_weights() == {"a": 1}
    assert torch.equal(weights["a"] != 0, MASK)
    assert enforcement.clear_weights() == {}


def test_the_same_masks_on_other_tensors():
    other = {"a": torch.ones(2, 2), "c": torch.ones(2, 2)}
    assert Enforcement.of(other, {"a": masked(MASK)}).clear_weights() == {"a": 2}
    assert (other["c"] == 1).all()
    assert Enforcement.of({"a": torch.ones(3)}, {"a": masked(MASK)}).clear_weights() == {}


class Scaled(torch.Tensor):
    """Holds half of each value, and can be read and written as a whole only."""

    def dequantize(self):
        return 2 * torch.Tensor(self)

    def copy_(self, values, non_blocking=False):
        torch.Tensor(self).copy_(values / 2)
        return self


def test_quantised_state_is_masked_by_its_own_operations():
    weights, enforcement = bound()
    optimizer = torch.optim.SGD(list(weights.values()), lr=0.1)
    state = torch.full((2, 2), 3.0).as_subclass(Scaled)
    optimizer.state[weights["a"]] = {"nested": [state]}
    enforcement.mask_optimizer_state(optimizer)
    assert torch.equal(torch.Tensor(state), 3.0 * MASK)


@pytest.mark.slow
def test_the_state_of_an_adam_of_8_bits(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)  # its step, for minutes
    torchao = pytest.importorskip("torchao.optim")
    weight, mask = nn.Parameter(torch.randn(256, 64)), torch.rand(256, 64) > 0.5
    optimizer = torchao.Adam8bit([weight], lr=0.01)
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    Enforcement({"w": weight}, {"w": masked(mask)}).mask_optimizer_state(optimizer)
    for name in ("exp_avg", "exp_avg_sq"):
        assert not optimizer.state[weight][name].dequantize()[~mask].any()
        assert optimizer.state[weight][name].dequantize()[mask].any()


class Closed(torch.Tensor):
    """Lets nothing in."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.dequantize:
            raise NotImplementedError("closed")
        return super().__torch_function__(func, types, args, kwargs)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param(
            torch.full((2, 2), 127, dtype=torch.uint8), "codes of torch.uint8", id="codes"
        ),
        pytest.param(torch.ones(2, 2).as_subclass(Closed), "Closed cannot be", id="no operation"),
    ],
)
def test_state_that_cannot_be_masked_is_left_alone_and_named_once(state, reason, caplog):
    caplog.set_level("INFO", logger="lightning_prune")
    weights, enforcement = bound()
    optimizer = torch.optim.SGD(list(weights.values()), lr=0.1)
    optimizer.state[weights["a"]] = {"state": state}
    for _ in range(2):
        enforcement.mask_optimizer_state(optimizer)
    assert state.bool().all()
    assert len([r for r in caplog.records if reason in r.getMessage()]) == 1


def test_without_masks_nothing_happens():
    weights, _ = bound()
    enforcement = Enforcement(weights, {})
    enforcement.mask_weights()
    enforcement.mask_gradients()
    enforcement.mask_optimizer_state(torch.optim.SGD(list(weights.values()), lr=0.1))
    assert all((w == 1).all() for w in weights.values())
