from lightning_prune.schedules import DenseSparseDense


def test_is_sparse_in_between_only():
    schedule = DenseSparseDense(start_step=10, end_step=30)
    levels = [schedule.sparsity(s, 0.7) for s in (0, 9, 10, 29, 30, 99)]
    assert levels == [0.0, 0.0, 0.7, 0.7, 0.0, 0.0]
    assert schedule.events() == (10, 30)
    assert not schedule.monotone
