import pytest

from lightning_prune.schedules import (
    Cubic,
    DenseSparseDense,
    Iterative,
    Linear,
    OneShot,
    Regrow,
    Steps,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: Cubic(start=0.1), "Expected `end` to be given, too", id="no end"),
        pytest.param(lambda: Linear(end=0.1), "Expected `start` to be given, too", id="no start"),
        pytest.param(
            lambda: Cubic(start=0.1, end=0.5, end_epoch=6), "but got end_epoch=6, too", id="epochs"
        ),
        pytest.param(lambda: OneShot(at=0.1, step=3), "but got step=3, too", id="steps"),
        pytest.param(
            lambda: Steps(fractions={0.1: 1.0}, steps={1: 1.0}),
            "Give bounds of one kind",
            id="dict",
        ),
        pytest.param(lambda: Cubic(start=0.5, end=0.5), r"use `OneShot\(at=0.5\)`", id="reversed"),
        pytest.param(
            lambda: DenseSparseDense(start=0.5, end=0.1), "Expected `end` to be after", id="dense"
        ),
        pytest.param(lambda: OneShot(at=1.0), r"`at` to be a fraction in \[0, 1\)", id="late"),
        pytest.param(lambda: Cubic(start=0.0, end=1), r"`end`.*in \(0, 1\), but got 1", id="end"),
        pytest.param(lambda: Cubic(start=0.1, end=0.2, every=1), "Expected `every`", id="every"),
        pytest.param(lambda: Regrow(start=0, end=0.2, share=2), "Expected `share`", id="share"),
        pytest.param(lambda: Steps(fractions={-0.1: 1.0}), "Expected `fractions`", id="negative"),
        pytest.param(lambda: Steps(fractions={0.1: 0.5}), "end with 1", id="shares"),
        pytest.param(
            lambda: Iterative(rounds=3, start=0.1), "Expected `recovery`", id="no recovery"
        ),
        pytest.param(
            lambda: Iterative(rounds=3, start=0.5, recovery=0.3), "comes at 1.1 of it", id="rounds"
        ),
        pytest.param(
            lambda: Iterative(rounds=0, start=0.5, recovery=0.3), "Expected `rounds`", id="none"
        ),
    ],
)
def test_wrong_fractions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_fraction_is_a_number():
    with pytest.raises(TypeError, match="Expected `end` to be a fraction"):
        Cubic(start=0.1, end="0.5")
