"""The first batches are remembered, however often and by whom they are read."""

import torch

from lightning_prune.pruning.compensating.batches import FirstBatches, batch_size

BATCHES = [torch.full((4, 2), float(index)) for index in range(5)]


def test_what_is_read_by_others_is_remembered_up_to_the_number_of_samples() -> None:
    batches = FirstBatches(iter(BATCHES), 6)
    assert len(list(batches)) == 5
    assert [float(batch[0, 0]) for batch in batches.first] == [0.0, 1.0]


def test_no_more_is_read_than_is_needed() -> None:
    source = iter(BATCHES)
    assert len(FirstBatches(source, 8).first) == 2
    assert float(next(source)[0, 0]) == 2.0


def test_the_size_of_a_batch_is_that_of_its_first_tensor() -> None:
    assert batch_size({"ids": torch.zeros(3, 7), "labels": torch.zeros(3)}) == 3
    assert batch_size([torch.tensor(1.0)]) == batch_size("text") == 1
