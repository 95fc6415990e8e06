import pytest

from lightning_prune import errors

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_one_base_catches_all_and_the_tree_on_top_names_them(kind):
    with pytest.raises(errors.PruningError, match="Expected"):
        raise kind("Expected `x` to be y, but got z. Pass y.")
    assert kind.__name__ in errors.__doc__


def test_errors_of_a_model_are_no_errors_of_an_argument_unless_that_is_one():
    both = [kind for kind in TREE if issubclass(kind, (ValueError, TypeError))]
    assert both == [errors.ExampleInputsError]
