"""Seeding: random numbers that follow from a seed, and leave those that are drawn later alone."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
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


class Draws:
    """The random numbers of one run, which may pause: no other run draws of them.

    They are those of torch, Python and numpy.

    Args:
        seed: what they follow from; ``None`` = from what is in force now.
        devices: where numbers are drawn, beside the CPU.
    """

    def __init__(self, seed: int | None = None, devices: Iterable[torch.device] = ()) -> None:
        cards = {device.index or 0 for device in devices if device.type == "cuda"}
        self._generators = [torch.default_generator]
        self._generators += [torch.cuda.default_generators[card] for card in sorted(cards)]
        if seed is None:
            self._states = self._now()
        else:
            fresh = [torch.Generator(g.device).manual_seed(seed) for g in self._generators]
            hosts = (random.Random(seed).getstate(), np.random.RandomState(seed).get_state())
            self._states = ([generator.get_state() for generator in fresh], *hosts)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Draw of them within; what is drawn after it is as if nothing had been drawn.

        Yields:
            Nothing.
        """
        outside = self._now()
        self._set(self._states)
        try:
            yield
        finally:
            self._states = self._now()
            self._set(outside)

    def _now(self) -> Any:
        states = [generator.get_state() for generator in self._generators]
        return states, random.getstate(), np.random.get_state()

    def _set(self, states: Any) -> None:
        of_torch, of_python, of_numpy = states
        for generator, state in zip(self._generators, of_torch, strict=True):
            generator.set_state(state)
        random.setstate(of_python)
        np.random.set_state(of_numpy)
