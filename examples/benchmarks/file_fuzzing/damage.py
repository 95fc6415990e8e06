"""Damage: what happens to the bytes, the tensors and the texts of a file.

Damage with recomputed checksums is such that a file can be told from every honest one: other names,
shapes and types. Other numbers under right checksums make another honest file, and are no damage.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from file_fuzzing.container import Container

Change = Callable[[random.Random, Container], None]


def damaged_bytes(dice: random.Random, data: bytes) -> bytes:
    """Return bytes of which some are others, or gone, or too many."""
    found = bytearray(data)
    header = 8 + int.from_bytes(data[:8], "little")
    start = dice.randrange(len(found))

    def announce_another_length() -> None:
        found[:8] = dice.randrange(2 ** dice.choice([8, 16, 32, 63])).to_bytes(8, "little")

    def cut_off() -> None:
        del found[start:]

    def append() -> None:
        found.extend(dice.randbytes(dice.randint(1, 64)))

    def zero_a_block() -> None:
        found[start : start + 64] = bytes(len(found[start : start + 64]))

    damages: list[Callable[[], None]] = [
        lambda: _flip(dice, found, 0, header),
        lambda: _flip(dice, found, 0, len(found)),
        lambda: _flip(dice, found, header, len(found)),
        announce_another_length,
        cut_off,
        append,
        zero_a_block,
        found.clear,
    ]
    dice.choice(damages)()
    return bytes(found)


def _flip(dice: random.Random, data: bytearray, start: int, end: int) -> None:
    for _ in range(dice.choice([1, 1, 1, 2, 8])):
        data[dice.randrange(start, end)] ^= 1 << dice.randrange(8)


def _name(dice: random.Random, file: Container) -> str:
    return dice.choice(sorted(file.tensors))


def _swap(dice: random.Random, file: Container) -> None:
    first, second = dice.sample(sorted(file.tensors), 2)
    tensors = file.tensors
    tensors[first], tensors[second] = tensors[second], tensors[first]


def _swap_shapes(dice: random.Random, file: Container) -> None:
    first = _name(dice, file)
    others = [n for n, t in file.tensors.items() if t.shape != file.tensors[first].shape]
    second = dice.choice(sorted(others))
    tensors = file.tensors
    tensors[first], tensors[second] = tensors[second], tensors[first]


def _rename(dice: random.Random, file: Container) -> None:
    name = _name(dice, file)
    file.tensors[dice.choice([f"{name}x", "", "x.y", name.upper(), "."])] = file.tensors.pop(name)


def _drop(dice: random.Random, file: Container) -> None:
    del file.tensors[_name(dice, file)]


def _add(dice: random.Random, file: Container) -> None:
    file.tensors[dice.choice(["more", "first.more", "__class__", "x.weight"])] = torch.zeros(2)


def _reshape(dice: random.Random, file: Container) -> None:
    name = _name(dice, file)
    tensor = file.tensors[name]
    file.tensors[name] = dice.choice(
        [tensor[None], torch.cat([tensor[None]] * 2), tensor[None, None]]
    )


def _retype(dice: random.Random, file: Container) -> None:
    name = _name(dice, file)
    types = [torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.bool]
    file.tensors[name] = file.tensors[name].to(dice.choice(types))


def _renumber(dice: random.Random, file: Container) -> None:
    if file.is_packed:
        tensor = file.tensors[_name(dice, file)]
        tensor[dice.randrange(len(tensor))] ^= 1 << dice.randrange(8)
        return
    names = [name for name, t in file.tensors.items() if t.numel() and t.is_floating_point()]
    tensor = file.tensors[dice.choice(sorted(names))]
    tensor.view(-1)[dice.randrange(tensor.numel())] = dice.choice([float("nan"), 1e30, -3.5])


def _format(dice: random.Random, file: Container) -> None:
    file.metadata["format"] = dice.choice(["lightning_prune/2", "lightning_prune/4", "", "pt"])


def _lose_text(dice: random.Random, file: Container) -> None:
    del file.metadata[dice.choice(sorted(file.metadata))]


def _no_json(dice: random.Random, file: Container) -> None:
    name = dice.choice(["plan", "tied", "proof"])
    texts = ["", "{", "[]", "null", "3", '"x"', "{'a': 1}", "[" * 100_000, "NaN"]
    file.metadata[name] = dice.choice(texts)


def _tie(dice: random.Random, file: Container) -> None:
    name = _name(dice, file)
    ties = [f'{{"{name}": "{name}"}}', '{"a": "b"}', f'{{"b": "{name}"}}', '{"a": 3}', '{"a": []}']
    file.metadata["tied"] = dice.choice(ties)


ALWAYS_SEEN: tuple[Change, ...] = (
    _swap_shapes,
    _rename,
    _drop,
    _add,
    _reshape,
    _retype,
    _format,
    _no_json,
    _tie,
)
"""Changes that no checksum is needed to see."""

SEEN_BY_CHECKSUM: tuple[Change, ...] = (*ALWAYS_SEEN, _swap, _renumber, _lose_text)
"""Changes that at least a checksum tells."""
