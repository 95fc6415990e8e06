import ast

import pytest

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import Pin, Unchanged, Unseen


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def test_what_is_right_stays() -> None:
    assert ast.unparse(Unchanged().wrap("f", expression("u + v"))) == "u + v"
    assert Unchanged().then(Pin(2, 1)) == Pin(2, 1)


def test_what_was_not_seen_raises_instead() -> None:
    assert ast.unparse(Unseen().wrap("f", expression("u + v"))) == "f()"
    added = ast.parse("u += v").body[0]
    assert ast.unparse(Unseen().wrap("f", added)) == "u += f()"
    with pytest.raises(RuntimeError, match="got a call from elsewhere"):
        Unseen()()


def test_from_where_it_was_seen_it_is_corrected() -> None:
    assert Unseen().then(Pin(2, 1)) == Pin(2, 1)


def test_a_statement_is_no_expression() -> None:
    with pytest.raises(RewriteError, match="is no expression"):
        Unseen().wrap("f", ast.parse("return u").body[0])
