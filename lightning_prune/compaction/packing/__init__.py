"""Packing: tensors with many zeros in few bytes, bit for bit."""

from lightning_prune.compaction.packing.packed import Packed, pack_tensor, unpack_tensor

__all__ = ["Packed", "pack_tensor", "unpack_tensor"]
