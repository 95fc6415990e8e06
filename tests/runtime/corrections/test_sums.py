"""Of a sum one term is left, in every form in which a sum is written."""

import ast

import pytest
import torch

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import KeepTerm, Pin

X = torch.arange(3.0)


def wrapped(text: str, index: int) -> str:
    node = ast.parse(text).body[0]
    node = node.value if isinstance(node, ast.Expr) else node
    return ast.unparse(ast.fix_missing_locations(KeepTerm(index, False).wrap("keep", node)))


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ("x + f(x)", "keep(x)", "keep(f(x))"),
        ("x += f(x)", "x = keep(x)", "x = keep(f(x))"),
        ("torch.add(x, y)", "keep(x)", "keep(y)"),
        ("torch.add(input=x, other=y)", "keep(x)", "keep(y)"),
        ("x.add(y)", "keep(x)", "keep(y)"),
        ("x.add_(other=y)", "keep(x)", "keep(y)"),
    ],
)
def test_one_term_is_left(text, left, right):
    assert (wrapped(text, 0), wrapped(text, 1)) == (left, right)


@pytest.mark.parametrize("text", ["x - y", "x.y += z", "torch.add(*x)", "add(**x)", "f(x, y, z)"])
def test_what_is_no_plain_sum_is_refused(text):
    with pytest.raises(RewriteError, match="KeepTerm does not fit"):
        wrapped(text, 0)


def test_what_is_kept_is_the_term_itself():
    assert KeepTerm(0, False)(X) is X


def test_a_copy_shares_no_memory_and_passes_gradients_on():
    term = torch.ones(3, requires_grad=True)
    copied = KeepTerm(1, True)(term)
    assert torch.equal(copied, term)
    copied.detach().add_(1)
    assert term.tolist() == [1, 1, 1]
    copied.sum().backward()
    assert term.grad.tolist() == [1, 1, 1]


def test_of_two_choices_the_later_counts():
    assert KeepTerm(0, False).then(KeepTerm(1, False)) == KeepTerm(1, False)
    assert KeepTerm(0, False).then(Pin(2, 1)) is None


@pytest.mark.parametrize("values", [(2, False), (True, False), (0, 1), ("0", True)], ids=str)
def test_values_of_other_kinds_are_refused(values):
    with pytest.raises(ValueError, match=r"Expected `(index|copied)`"):
        KeepTerm(*values)
