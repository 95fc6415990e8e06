import io

import pytest
import torch
from torch import nn

from lightning_prune.callbacks.compaction.best_weights import BestWeights


def net(value: float, zeros: int = 0) -> nn.Linear:
    layer = nn.Linear(4, 1)
    set_weights(layer, value, zeros)
    return layer


def set_weights(layer: nn.Linear, value: float, zeros: int = 0) -> None:
    """Write the weights in place, as an optimizer does."""
    with torch.no_grad():
        layer.weight.fill_(value)
        layer.weight[0, :zeros] = 0


def after(mode, *seen):
    """Look at one net, which trains on between two looks."""
    best, layer = BestWeights(mode), net(0.0)
    for step, (metric, zeros) in enumerate(seen, start=1):
        set_weights(layer, float(step), zeros)
        best.look(layer, ())
        set_weights(layer, 100.0 + step, zeros)  # between the look and the end of the validation
        best.judge(metric, step)
    set_weights(layer, -1.0)
    return best


@pytest.mark.parametrize(
    ("mode", "seen", "step"),
    [
        pytest.param("min", [(0.3, 0), (0.2, 0), (0.4, 0)], 2, id="lowest"),
        pytest.param("max", [(0.3, 0), (0.2, 0), (0.4, 0)], 3, id="highest"),
        pytest.param("min", [(0.1, 0), (0.5, 2), (0.4, 2), (0.6, 2)], 3, id="sparser comes first"),
        pytest.param("min", [(0.1, 2), (0.05, 1)], 1, id="denser never counts"),
        pytest.param("min", [(float("nan"), 2), (0.4, 2)], 2, id="no NaN"),
        pytest.param("min", [(0.4, 2), (0.4, 2)], 1, id="the first of equals"),
    ],
)
def test_which_weights_are_the_best(mode, seen, step):
    best = after(mode, *seen)
    assert best.step == step
    restored = net(9.0, zeros=2 if any(zeros for _, zeros in seen) else 0)
    assert best.restore(restored, ())
    assert restored.weight[0, -1].item() == step


def test_nothing_is_restored_over_sparser_weights():
    best = after("min", (0.1, 1))
    last = net(9.0, zeros=3)
    assert not best.restore(last, ())
    assert last.weight[0, -1].item() == 9.0


def test_nothing_is_judged_that_was_not_seen():
    best = BestWeights("min")
    best.judge(0.5, 1)
    assert not best.restore(net(1.0), ())


def test_the_state_is_plain_and_comes_back():
    buffer = io.BytesIO()
    torch.save(after("min", (0.3, 0), (0.2, 0)).state_dict(), buffer)
    buffer.seek(0)
    best = BestWeights("min")
    best.load_state_dict(torch.load(buffer, weights_only=True))
    restored = net(9.0)
    assert best.restore(restored, ())
    assert (best.step, best.value, restored.weight[0, 0].item()) == (2, 0.2, 2.0)


def test_zeros_of_biases_do_not_count():
    best, layer = BestWeights("min"), net(1.0, zeros=1)
    nn.init.zeros_(layer.bias)  # where biases start from
    best.look(layer, ())
    best.judge(0.9, 1)
    set_weights(layer, 2.0, zeros=1)
    nn.init.constant_(layer.bias, 0.5)
    best.look(layer, ())
    best.judge(0.1, 2)
    nn.init.zeros_(layer.bias)
    assert best.step == 2
    assert best.restore(layer, ())
    assert (layer.weight[0, 1].item(), layer.bias.item()) == (2.0, 0.5)


def test_what_was_looked_at_is_judged_once():
    best, layer = BestWeights("min"), net(1.0)
    best.look(layer, ())
    best.judge(0.9, 1)
    best.judge(0.1, 2)
    assert (best.step, best.value) == (1, 0.9)


@pytest.mark.parametrize("zeros", [0, 3])
def test_where_something_masks_zeros_do_not_count(zeros):
    best, layer = BestWeights("max"), net(1.0, zeros)
    best.look(layer, [7])
    best.judge(0.5, 1)
    set_weights(layer, 2.0)
    best.look(layer, [7])
    best.judge(0.9, 2)
    assert best.restore(net(3.0, zeros=4), [7])
    assert best.step == 2


def test_weights_of_other_masks_are_forgotten():
    best, layer = BestWeights("max"), net(1.0)
    for step, (masks, value) in enumerate([([1], 0.9), ([2], 0.4), ([2], 0.3)], start=1):
        set_weights(layer, float(step))
        best.look(layer, masks)
        best.judge(value, step)
    assert not best.restore(layer, [1])
    assert not best.restore(layer, [1, 2])
    assert best.restore(layer, [2])
    assert (best.step, best.value, layer.weight[0, 0].item()) == (2, 0.4, 2.0)
