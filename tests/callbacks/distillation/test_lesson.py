from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.callbacks.distillation.distances import divergence, feature_distance
from lightning_prune.callbacks.distillation.lesson import Lesson
from lightning_prune.callbacks.distillation.watching import watching

LESSON = Lesson("kl", 2.0, 1, 0.5, "", {})


class Net(nn.Module):
    """Two layers; returns what ``wrap`` makes of its outputs."""

    def __init__(self, wrap: Any = lambda out: out, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Linear(3, width)
        self.head = nn.Linear(width, 3)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.head(self.body(x)))


def term(lesson: Lesson, student: nn.Module, teacher: nn.Module, *batches: Tensor) -> Tensor:
    with watching(student, lesson.names) as watched:
        for batch in batches or [torch.randn(2, 3)]:
            student(batch)
    return lesson.term(watched, teacher)


def test_outputs_and_features_are_added_by_their_weights() -> None:
    student, teacher, x = Net(), Net(), torch.randn(2, 3)
    lesson = replace(LESSON, features={"body": 0.25, "head": 2.0})
    by_hand = 0.5 * divergence(student(x), teacher(x), 2.0, 1)
    by_hand = by_hand + 0.25 * feature_distance(student.body(x), teacher.body(x))
    by_hand = by_hand + 2.0 * feature_distance(student(x), teacher(x))
    torch.testing.assert_close(term(lesson, student, teacher, x), by_hand)


def test_the_teacher_has_no_gradient_and_the_student_has() -> None:
    student, teacher = Net(), Net()
    term(replace(LESSON, features={"body": 1.0}), student, teacher).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in student.parameters())


def test_several_calls_are_averaged() -> None:
    student, teacher, batches = Net(), Net(), [torch.randn(2, 3), torch.randn(5, 3)]
    each = [term(LESSON, student, teacher, batch) for batch in batches]
    torch.testing.assert_close(term(LESSON, student, teacher, *batches), sum(each) / 2)


def test_a_teacher_like_the_student_adds_nothing() -> None:
    student = Net()
    for lesson in (LESSON, replace(LESSON, kind="mse", features={"body": 1.0})):
        assert term(lesson, student, student).item() == pytest.approx(0.0, abs=1e-6)


def test_what_returns_logits_by_name_or_a_named_module_is_compared() -> None:
    torch.manual_seed(0)
    plain = term(LESSON, Net(), Net(), torch.ones(2, 3))
    for wrap, name in ((lambda out: {"logits": out}, ""), (lambda out: (out, 3), "head")):
        torch.manual_seed(0)
        lesson = replace(LESSON, output=name)
        assert term(lesson, Net(wrap), Net(wrap), torch.ones(2, 3)) == plain


def test_outputs_without_weight_are_not_looked_at() -> None:
    student, teacher = Net(lambda out: None), Net(lambda out: "")
    assert term(replace(LESSON, weight=0.0, features={"body": 1.0}), student, teacher) > 0


@pytest.mark.parametrize(
    ("lesson", "student", "teacher", "message"),
    [
        (LESSON, Net(lambda out: (out,)), Net(), r"`output` .*a tensor.* but got tuple from ''"),
        (LESSON, Net(), Net(lambda out: {"out": out}), r"`output` .* but got dict from ''"),
        (
            LESSON,
            Net(lambda out: out[:, :2]),
            Net(),
            r"`output` .*same shapes.* but got \[\(2, 2\)\] and \[\(2, 3\)\] for ''",
        ),
        (
            replace(LESSON, features={"body": 1.0}),
            Net(),
            Net(width=6),
            r"`features` .*but got \[\(2, 4\)\] and \[\(2, 6\)\] for 'body'. Leave it out",
        ),
        (replace(LESSON, features={"wrap": 1.0}), *[Net(nn.Identity()) for _ in "ab"], ""),
    ],
    ids=["tuple", "dict", "classes", "width", "fine"],
)
def test_what_cannot_be_compared_is_refused(
    lesson: Lesson, student: nn.Module, teacher: nn.Module, message: str
) -> None:
    if not message:
        assert term(lesson, student, teacher) > 0
        return
    with pytest.raises(ValueError, match=f"Expected {message}"):
        term(lesson, student, teacher)


def test_a_feature_that_did_not_run_is_refused() -> None:
    student, teacher = Net(), Net()
    student.spare = teacher.spare = nn.Identity()
    with pytest.raises(ValueError, match=r"got \[\] and \[\] for 'spare'"):
        term(replace(LESSON, features={"spare": 1.0}), student, teacher)
