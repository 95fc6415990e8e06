"""Case: one file is damaged and loaded; it is refused, or nothing of the damage is seen."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from file_fuzzing.container import Container
from file_fuzzing.damage import ALWAYS_SEEN, SEEN_BY_CHECKSUM, damaged_bytes
from file_fuzzing.packed_damage import PACKED_ALWAYS_SEEN
from file_fuzzing.plan_damage import PLANS_ALWAYS_SEEN, PLANS_SEEN_BY_CHECKSUM
from file_fuzzing.subjects import Subject, subjects
from torch import Tensor, nn

import lightning_prune as lp

KINDS = ("bytes", "parts", "parts, checksums recomputed", "plan", "plan, checksums recomputed")


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Args:
        number: of the case.
        kind: of the damage.
        change: what was changed.
        result: ``"refused"``, ``"loaded the same"`` or ``"wrong"``.
        message: what is wrong, or why the file was refused.
    """

    number: int
    kind: str
    change: str
    result: str
    message: str = ""


def run(number: int, folder: Path) -> Outcome:
    """Run one case, all of which follows from its number.

    Args:
        number: of the case.
        folder: where to write the file.
    """
    dice = random.Random(number)
    subject = dice.choice(subjects())
    kind = KINDS[number % len(KINDS)]
    if kind == "bytes":
        change, data = "bytes", damaged_bytes(dice, subject.data)
    else:
        is_recomputed, of_plan = kind.endswith("recomputed"), kind.startswith("plan")
        changes = (
            (PLANS_ALWAYS_SEEN if is_recomputed else PLANS_SEEN_BY_CHECKSUM)
            if of_plan
            else (ALWAYS_SEEN if is_recomputed else SEEN_BY_CHECKSUM)
        )
        file = Container.of(subject.data)
        if file.is_packed and not of_plan:
            changes = (*changes, *PACKED_ALWAYS_SEEN)
        made = dice.choice(changes)
        made(dice, file)
        if is_recomputed:
            file.recompute()
        change, data = made.__name__, file.packed()
    path = folder / "case.safetensors"
    path.write_bytes(data)
    return Outcome(number, kind, change, *_loaded(subject, path))


def _loaded(subject: Subject, path: Path) -> tuple[str, str]:
    """Return what comes of loading a file, and what to say about it."""
    model = subject.build().eval()
    before = state_of(model)
    try:
        with mock.patch("subprocess.run", side_effect=AssertionError("a program was run")):
            lp.load_compact(model, path)
    except ValueError as error:
        unchanged = state_of(model) == before
        return ("refused", str(error)) if unchanged else ("wrong", "refused, and changed the model")
    except BaseException as error:
        return "wrong", f"{type(error).__name__}: {error}"
    return _compared(subject, model)


def _compared(subject: Subject, model: nn.Module) -> tuple[str, str]:
    expected, found = subject.model.state_dict(), model.state_dict()
    same = expected.keys() == found.keys() and all(
        _identical(expected[name], found[name]) for name in expected
    )
    if not same:
        return "wrong", "loaded other tensors"
    try:
        with torch.no_grad():
            output = model(subject.x)
    except Exception as error:
        return "wrong", f"loaded, and does not run: {type(error).__name__}: {error}"
    # Where tensors lie in memory, kernels may add in another order.
    is_same = torch.allclose(output, subject.expected, rtol=1e-5, atol=1e-6)
    return ("loaded the same", "") if is_same else ("wrong", "loaded, and computes something else")


def _identical(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def state_of(model: nn.Module) -> list[Any]:
    """Return everything of a model that loading may change."""
    tensors = [*model.parameters(), *model.buffers()]
    modules = [
        (type(m), {name: _plain(value) for name, value in vars(m).items()}) for m in model.modules()
    ]
    return [
        modules,
        [(id(t), t.data_ptr(), t.shape, t.dtype, t.requires_grad, id(t.grad)) for t in tensors],
        [t.tolist() for t in tensors],
    ]


def _plain(value: Any) -> Any:
    """Return something that can be compared; tensors and modules are compared by identity."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value if isinstance(value, (int, float, str, tuple, set, type(None))) else id(value)
