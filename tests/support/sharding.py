"""What tests of sharded modules need of torch."""

from __future__ import annotations

import pytest
import torch

needs_shards_on_cpu = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"),
    reason="torch 2.6 cannot run what `fully_shard` shards on a CPU",
)
