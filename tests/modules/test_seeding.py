"""What is drawn from a seed is always the same, and changes nothing that is drawn later."""

import torch

from lightning_prune.modules.seeding import seeded


def test_the_same_numbers_are_drawn():
    draws = []
    for _ in range(2):
        torch.rand(3)
        with seeded(4):
            draws.append(torch.rand(3))
    torch.manual_seed(4)
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], torch.rand(3))


def test_later_numbers_do_not_change():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with seeded(4):
        torch.rand(5)
    assert torch.equal(torch.rand(3), expected)


def test_cards_without_drawing_are_not_seeded(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    with seeded(4):
        torch.rand(1)
    assert seeds == []
    torch.manual_seed(4)  # as this would
    assert seeds == [4]
