"""Damage of packed tensors: frames and texts that do not go together, and frames that explode.

No honest file has any of them, so they are seen without checksums.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import torch
import zstandard
from file_fuzzing.container import Container
from torch import Tensor

_Change = Callable[[random.Random, Container], None]


def _told(change: Callable[[random.Random, dict[str, Any]], None]) -> _Change:
    """Return a change of what is told of one packed tensor."""

    def made(dice: random.Random, file: Container) -> None:
        packed = json.loads(file.metadata["packed"])
        change(dice, packed[dice.choice(sorted(packed))])
        file.metadata["packed"] = json.dumps(packed)

    made.__name__ = change.__name__
    return made


def _framed(change: Callable[[random.Random, bytes], bytes]) -> _Change:
    """Return a change of one frame, of which the size is told rightly."""

    def made(dice: random.Random, file: Container) -> None:
        packed = json.loads(file.metadata["packed"])
        name = dice.choice(sorted(packed))
        sizes = packed[name]["sizes"]
        which = dice.randrange(len(sizes))
        frames = [bytes(part.tolist()) for part in file.tensors[name].split(sizes)]
        frames[which] = change(dice, frames[which])
        sizes[which] = len(frames[which])
        file.tensors[name] = _tensor(b"".join(frames))
        file.metadata["packed"] = json.dumps(packed)

    made.__name__ = change.__name__
    return made


def _tensor(data: bytes) -> Tensor:
    return torch.tensor(list(data), dtype=torch.uint8)


def _other_form(dice: random.Random, told: dict[str, Any]) -> None:
    forms = ["", "csr", "3:4", "0:4", None, 3, ["gaps"], {"gaps": 1}]
    told["form"] = dice.choice([*forms, "dense" if told["form"] != "dense" else "gaps"])


def _other_type(dice: random.Random, told: dict[str, Any]) -> None:
    names = ["float64", "float16", "int32", "complex64", "quint8", "nn", "", None, 3]
    told["dtype"] = dice.choice([name for name in names if name != told["dtype"]])


def _other_shape(dice: random.Random, told: dict[str, Any]) -> None:
    shapes = [[2**40], [2**60, 2**60], [-1], [1.5], None, "8", [*told["shape"], 1], [[8]]]
    told["shape"] = dice.choice(shapes)


def _other_sizes(dice: random.Random, told: dict[str, Any]) -> None:
    sizes = list(told["sizes"])
    which = dice.randrange(len(sizes))
    others = [sizes[:-1], [*sizes, 0], [-1, *sizes], [2**62, *sizes[1:]], None, [sum(sizes)]]
    moved = list(sizes)
    moved[which] += 1
    moved[which - 1] -= 1
    told["sizes"] = dice.choice([*others, moved] if len(sizes) > 1 else others[1:-1])


def _lacking(dice: random.Random, told: dict[str, Any]) -> None:
    del told[dice.choice(sorted(told))]


def _bomb(dice: random.Random, frame: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(2 ** dice.choice([16, 24, 27])))


def _cut_off(dice: random.Random, frame: bytes) -> bytes:
    return frame[: dice.randrange(len(frame))]


def _too_long(dice: random.Random, frame: bytes) -> bytes:
    return frame + dice.choice([frame, b"\0", dice.randbytes(9)])


def _one_byte_more(dice: random.Random, frame: bytes) -> bytes:
    held = zstandard.ZstdDecompressor().decompress(frame)
    return zstandard.ZstdCompressor().compress(held + b"\1")


def _without_a_size(dice: random.Random, frame: bytes) -> bytes:
    held = zstandard.ZstdDecompressor().decompress(frame)
    options = zstandard.ZstdCompressionParameters(write_content_size=False)
    return zstandard.ZstdCompressor(compression_params=options).compress(held + b"\1")


def _noise(dice: random.Random, frame: bytes) -> bytes:
    return dice.randbytes(dice.choice([0, 3, len(frame)]))


PACKED_ALWAYS_SEEN: tuple[_Change, ...] = (
    *map(_told, (_other_form, _other_type, _other_shape, _other_sizes, _lacking)),
    *map(_framed, (_bomb, _cut_off, _too_long, _one_byte_more, _without_a_size, _noise)),
)
"""Changes of packed tensors that no checksum is needed to see."""
