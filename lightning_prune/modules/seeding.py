"""Seeding: random numbers that follow from a seed, and leave those that are drawn later alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """Draw random numbers from ``seed`` within; what is drawn after it is as if none were.

    Args:
        seed: of torch's generators.
        devices: where numbers are drawn, beside the CPU.

    Yields:
        Nothing.
    """
    cards = {device for device in devices if device.type == "cuda"}
    with torch.random.fork_rng(devices=list(cards)):
        # `torch.manual_seed` would seed every card, and formats the call stack to do so.
        torch.default_generator.manual_seed(seed)
        for card in cards:
            torch.cuda.default_generators[card.index].manual_seed(seed)
        yield
