"""What is drawn from a seed is always the same, and changes nothing that is drawn later."""

import random

import numpy as np
import torch

from lightning_prune.modules.seeding import Draws, seeded


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


def draw() -> list[float]:
    """Draw a number of each kind."""
    return [float(torch.rand(())), random.random(), float(np.random.rand())]


def test_a_run_that_pauses_draws_what_it_would_in_one_go() -> None:
    with Draws(3).in_force():
        at_once = [draw(), draw()]
    one, other = Draws(3), Draws(3)
    found: list[list[list[float]]] = [[], []]
    before = torch.get_rng_state()
    for _ in range(2):
        for draws, drawn in zip((one, other), found, strict=True):
            with draws.in_force():
                drawn.append(draw())
    assert found == [at_once, at_once]
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_without_a_seed_go_on_from_now() -> None:
    draws = Draws()
    expected = draw()
    with draws.in_force():
        assert draw() == expected
    assert draw() != expected
