"""A model is asked what it takes beside the example."""

import torch

from lightning_prune.compaction.verification.variants import questions, training_choices
from lightning_prune.modules.inputs import ExampleInputs


def asked(inputs, forward=lambda x: x, takes=lambda question, choice: True, whole=None):
    """Return the first choice that is taken, by what the question is about."""
    asking = questions(forward, inputs, whole or inputs)
    found = {}
    question = next(asking)
    while True:
        taken = next((c for c in question.choices if takes(question, c)), None)
        if taken is not None:
            found[question.about] = taken
        try:
            question = asking.send(taken is not None)
        except StopIteration:
            return found


def shapes(found):
    return {about: [tuple(t.shape) for t in one.tensors] for about, one in found.items()}


def of(*shapes, **kwargs):
    return ExampleInputs(tuple(torch.randn(shape) for shape in shapes), kwargs)


def test_an_image_is_made_larger_and_smaller_together_and_by_its_sides():
    found = shapes(asked(of((2, 3, 96, 96))))
    assert found["larger sizes and a batch of 1"] == [(1, 3, 129, 129)]
    assert found["smaller sizes and a batch of 3"] == [(3, 3, 64, 64)]
    assert found["larger dimension 2 of input 0"] == [(2, 3, 129, 96)]
    assert found["smaller dimension 2 of input 0"] == [(2, 3, 64, 96)]
    assert found["larger dimension 3 of input 0"] == [(2, 3, 96, 129)]
    assert found["smaller dimension 3 of input 0"] == [(2, 3, 96, 64)]


def test_the_whole_batch_comes_last():
    found = shapes(asked(of((2, 5)), whole=of((7, 5))))
    assert list(found.items())[-1] == ("the whole batch of 7", [(7, 5)])
    assert not any("whole batch" in about for about in asked(of((2, 5))))


def test_a_batch_of_one_is_doubled():
    found = shapes(asked(of((1, 3, 8, 8))))
    assert found["larger sizes"] == [(1, 3, 17, 17)]
    assert found["smaller sizes and a batch of 2"] == [(2, 3, 4, 4)]


def test_a_sequence_and_its_mask_change_together():
    inputs = ExampleInputs((torch.randn(2, 6, 4), torch.ones(2, 6, dtype=torch.bool)))
    found = shapes(asked(inputs))
    assert found["larger sizes and a batch of 1"] == [(1, 13, 4), (1, 13)]
    assert found["smaller sizes and a batch of 3"] == [(3, 3, 4), (3, 3)]


def test_features_of_the_same_number_as_positions_stay():
    found = asked(of((2, 6, 6)), takes=lambda question, one: one.tensors[0].shape[2] == 6)
    assert shapes(found)["larger sizes and a batch of 1"] == [(1, 13, 6)]


def test_where_both_are_too_much_size_and_batch_change_by_themselves():
    found = shapes(asked(of((2, 3, 8, 8)), takes=lambda question, one: "and" not in question.about))
    assert found["larger sizes"] == [(2, 3, 17, 17)]
    assert found["smaller sizes"] == [(2, 3, 4, 4)]
    assert found["a batch of 3"] == [(3, 3, 8, 8)]
    assert found["a batch of 1"] == [(1, 3, 8, 8)]


def test_multiples_are_found():
    inputs = of((2, 3, 64, 64))
    found = asked(inputs, takes=lambda question, one: one.tensors[0].shape[2] % 32 == 0)
    assert shapes(found)["larger sizes and a batch of 1"] == [(1, 3, 96, 96)]
    assert shapes(found)["smaller sizes and a batch of 3"] == [(3, 3, 32, 32)]


def test_dimensions_that_are_no_positions_are_asked_for_as_well():
    found = shapes(asked(of((2, 4, 9))))
    assert found["larger dimension 2 of input 0"] == [(2, 4, 19)]


def test_a_fixed_size_leaves_other_values():
    inputs = of((2, 3))
    found = asked(inputs, takes=lambda question, one: one.tensors[0].shape == (2, 3))
    assert set(found) == {"other values", "values ten times as large"}
    assert not torch.equal(found["other values"].tensors[0], inputs.tensors[0])


def test_values_are_drawn_anew_with_other_sizes():
    inputs = ExampleInputs((torch.arange(3, 9).view(2, 3),))
    larger = asked(inputs)["larger sizes and a batch of 1"].tensors[0]
    assert (larger >= 3).all()
    assert (larger <= 8).all()
    assert not torch.equal(larger[:2, :3], inputs.tensors[0])


def test_masks_are_mixed_and_opened():
    mask = torch.ones(2, 40, dtype=torch.bool)
    found = asked(ExampleInputs((torch.randn(2, 40, 3), mask)))
    assert not found["mixed masks"].tensors[1].all()
    assert found["masks that hide nothing"].tensors[1].all()
    assert not found["masks that hide everything"].tensors[1].any()


def test_whole_numbers_are_drawn_from_zero_on_and_permuted():
    found = asked(ExampleInputs((torch.arange(3, 43).view(2, 20),)))
    assert found["whole numbers from zero on"].tensors[0].min() < 3
    permuted = found["whole numbers in another order"].tensors[0]
    assert sorted(permuted.flatten().tolist()) == list(range(3, 43))


def masked(x, mask=None, *, scale=None, needed=None, **others):
    return x, mask, scale, needed, others


def test_optional_arguments_are_left_out_one_at_a_time():
    x = torch.randn(2, 3)
    found = asked(ExampleInputs((x, x), {"scale": x, "more": x}), masked)
    assert found["a call without `mask`"].args[1] is None
    assert set(found["a call without `scale`"].kwargs) == {"more"}
    assert set(found["a call without `more`"].kwargs) == {"scale"}
    assert "a call without `x`" not in found


def test_needed_arguments_are_not_left_out():
    x = torch.randn(2, 3)
    found = asked(ExampleInputs((x,), {"y": x}), lambda x, y: x)
    assert not any("without" in about for about in found)


def test_lists_are_shortened():
    images = [torch.rand(3, 8, 8), torch.rand(3, 6, 8)]
    assert len(asked(ExampleInputs((images,)))["lists of one element"].tensors) == 1


def test_training_sees_two_examples():
    assert [t.shape[0] for one in training_choices(of((1, 3))) for t in one.tensors] == [2, 1]
    assert [t.shape[0] for one in training_choices(of((2, 3))) for t in one.tensors] == [2]


def test_a_number_alone_has_no_sizes():
    found = asked(ExampleInputs((torch.tensor(2.5),)))
    assert set(found) == {"other values", "values ten times as large"}


def test_a_model_of_pairs_is_asked_for_more_of_them():
    def takes(question, choice):
        return choice.batch_size % 2 == 0

    found = shapes(asked(of((2, 5)), takes=takes))
    assert found["a batch of 4"] == [(4, 5)]
    assert "a batch of 4" not in asked(of((2, 5)))


def test_a_square_becomes_another_square():
    def takes(question, choice):
        return choice.tensors[0].shape[1] in {4, 9, 16, 25, 36}

    found = shapes(asked(of((2, 16, 5)), takes=takes))
    assert found["larger sizes and a batch of 1"] == [(1, 25, 5)]
    assert found["smaller sizes and a batch of 3"] == [(3, 9, 5)]


def test_numbers_vary_and_say_nothing_of_other_values():
    inputs = ExampleInputs((torch.randn(2, 5), 0.5, 3), {})
    found = asked(inputs, takes=lambda question, choice: "numbers" in question.about)
    assert found["other real numbers"].args[1:] == (0.75, 3)
    assert found["other whole numbers as arguments"].args[1:] == (0.5, 4)
    everything = asked(inputs, takes=lambda q, c: "numbers" in q.about or q.about == "other values")
    assert "other values" in everything
