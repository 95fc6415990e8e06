"""What a model picks is noted, and repeated in another run."""

import torch

from lightning_prune.compaction.verification.decisions import Decisions, inputs_in_common, is_proof


def run(function, *inputs, earlier=None):
    decisions = Decisions(earlier)
    with torch.no_grad(), decisions:
        result = function(*inputs)
    return result, decisions.made


def test_a_choice_is_repeated_where_rounding_would_turn_it():
    x = torch.tensor([1.0, 2.0, 3.0])
    y = torch.tensor([1.0, 3.0, 2.999999])
    first, made = run(torch.argmax, x)
    again, _ = run(torch.argmax, y, earlier=made)
    assert (first, again) == (2, 2)
    assert run(torch.argmax, y)[0] == 1


def test_the_inputs_of_choices_are_kept_for_comparison():
    x, y = torch.randn(4), torch.randn(4)
    made = [run(lambda t: t.topk(2).values + (t > 0).sum(), t)[1] for t in (x, y)]
    first, second = inputs_in_common(*made)
    assert len(first) == len(second) == 2
    assert all(torch.equal(t, x) for t in first)
    assert all(torch.equal(t, y) for t in second)


def test_the_inputs_are_those_of_the_time_of_the_choice():
    x = torch.ones(3)
    _, made = run(lambda t: (t > 0, t.zero_()), x)
    assert torch.equal(made[0].inputs[0], torch.ones(3))


def test_another_course_ends_the_repetition():
    def sorted_then_largest(t):
        return t.sort().values, t.argmax()

    x = torch.tensor([3.0, 1.0])
    _, made = run(sorted_then_largest, x)
    result, others = run(torch.argmax, torch.tensor([1.0, 3.0]), earlier=made)
    assert result == 1
    assert inputs_in_common(made, others) == [[], []]


def test_other_shapes_end_the_repetition():
    _, made = run(torch.argmax, torch.tensor([1.0, 2.0, 3.0]))
    assert run(torch.argmax, torch.tensor([2.0, 1.0]), earlier=made)[0] == 0


def test_rounding_to_whole_numbers_is_a_choice():
    for function in (torch.floor, lambda t: t.to(torch.int64), torch.Tensor.int):
        x, y = torch.tensor([2.0]), torch.tensor([1.9999999])
        first, made = run(function, x)
        assert torch.equal(run(function, y, earlier=made)[0], first)


def test_whole_numbers_prove_nothing():
    assert not is_proof(run(torch.argmax, torch.tensor([1, 2]))[1])
    assert not is_proof(run(torch.argmax, torch.full((2,), torch.nan))[1])
    assert is_proof(run(torch.argmax, torch.ones(2))[1])


def test_casts_to_fewer_digits_are_noted():
    x = torch.ones(2, dtype=torch.float64)
    functions = {
        torch.Tensor.float: True,
        torch.Tensor.int: False,
        lambda t: t.to(torch.float64, copy=True): False,
    }
    for function, lowers in functions.items():
        decisions = Decisions()
        with torch.no_grad(), decisions:
            function(x)
        assert decisions.lowers_precision == lowers


def test_what_is_written_into_a_choice_is_not_repeated():
    def shown(t):
        mask = t > 0
        return mask.logical_not_()

    x = torch.tensor([1.0, -1.0])
    first, made = run(shown, x)
    for _ in range(2):
        assert torch.equal(run(shown, x, earlier=made)[0], first)
