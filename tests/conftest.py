"""For every test: one thread, as the suite runs on every core, and the same random numbers."""

import os
import signal
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def interruptible() -> None:
    """Interrupts, which some tests raise, are ignored in a shell's background and after a fit that
    was interrupted."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
