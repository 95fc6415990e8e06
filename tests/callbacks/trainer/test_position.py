from types import SimpleNamespace

from lightning_prune.callbacks.trainer.position import current_position, is_trial


def test_a_position_is_an_epoch_or_a_step():
    trainer = SimpleNamespace(current_epoch=3, global_step=70)
    assert [current_position(trainer, period) for period in ("epoch", "step")] == [3, 70]


def test_a_trial_is_a_fast_dev_run():
    assert is_trial(SimpleNamespace(fast_dev_run=3))
    assert not is_trial(SimpleNamespace(fast_dev_run=False))
    assert not is_trial(SimpleNamespace())
