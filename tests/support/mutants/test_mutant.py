"""Which changes are made, written out for one statement each, and which are not."""

import ast

import pytest

from support.mutants.mutant import mutants_of

CHANGES = {
    "x = a < b": ["x = a <= b", "x = a >= b"],
    "x = a not in b": ["x = a in b"],
    "x = a < b == c": ["x = a <= b == c", "x = a < b != c", "x = a >= b == c"],
    "x = a is not b": ["x = a is b"],
    "x = a and b and c": ["x = a and b or c", "x = a or b and c"],
    "x = not a": ["x = a"],
    "x = ~a": ["x = a"],
    "x = a // b": ["x = a * b"],
    "x = 7": ["x = 6", "x = 8"],
    "x = True": ["x = False"],
    "x = 1e-3": ["x = 0.0001", "x = 0.01"],
    "x = 0.5": ["x = 0.25", "x = 1.5"],
    "x = max(a, b)": ["x = min(a, b)"],
    "x = a.argmin()": ["x = a.argmax()"],
    "x = sorted(a)": ["x = a"],
    "x = a.clone()": ["x = a"],
    "x = f(a, b=c)": ["x = f(a)"],
    "x = a if b else c": ["x = a if False else c", "x = a if True else c"],
    "x = [a for a in b if c]": ["x = [a for a in b if True]"],
    "if a: x": ["if False: x", "if True: x"],
    "while a: x": ["while False: x"],
    "f(a)": ["pass"],
    "a.b = c": ["pass"],
    "a[b] = c": ["pass"],
    "a |= c": ["a &= c", "pass"],
    "raise ValueError(1 < 2)": ["pass"],
    "π = a + b": ["π = a - b"],
}
LEFT_ALONE = [
    '"""A docstring."""',
    "import a",
    "x: int | None",
    "x = a | b",
    "def f(a: int = b) -> Literal[3]: ...",
    "@f(a=1)\ndef g(): ...",
    "class A(B, c=1): ...",
    "x = f'{a < b}'",
    "x = isinstance(a, b | c)",
    "def __repr__(self): return a + b",
    "raise NotImplementedError",
    "if TYPE_CHECKING: import a",
    "x = zip(a, b, strict=True)",
    "x = a.to(device)",
    "x = a",
]


def changed(tmp_path, text):
    (tmp_path / "a.py").write_text(text)
    return mutants_of(tmp_path, "a.py")


@pytest.mark.parametrize(("text", "expected"), CHANGES.items(), ids=CHANGES)
def test_a_statement_is_changed_in_these_ways(text, expected, tmp_path):
    assert sorted(mutant.source for mutant in changed(tmp_path, text)) == sorted(expected)


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_a_statement_is_left_alone(text, tmp_path):
    assert changed(tmp_path, text) == []


def test_the_words_of_a_log_are_kept_but_the_call_may_go(tmp_path):
    (mutant,) = changed(tmp_path, "log.info('%s', a + b)")
    assert mutant.source == "pass"


def test_a_return_is_negated_where_it_is_a_bool_and_dropped_elsewhere(tmp_path):
    text = "def f() -> {}:\n    return a"
    (negated,) = changed(tmp_path, text.format("bool"))
    (dropped,) = changed(tmp_path, text.format("int"))
    assert negated.source.endswith("return not (a)")
    assert dropped.source.endswith("return None")


def test_an_assignment_goes_only_if_the_name_has_another(tmp_path):
    text = "def f(a):\n    a = b\n    c = a\n"
    (mutant,) = changed(tmp_path, text)
    assert (mutant.line, mutant.operator) == (2, "dropped")


def test_lines_behind_a_change_keep_their_numbers(tmp_path):
    text = "if (\n    a\n    < b\n):\n    f(\n        c\n    )\ng = (\n    h and i\n)\n"
    mutants = changed(tmp_path, text)
    assert len(mutants) == 6
    for mutant in mutants:
        assert ast.parse(mutant.source).body[1].lineno == 8
    dropped = next(mutant for mutant in mutants if mutant.operator == "dropped")
    assert dropped.name == 'a.py:5:4 dropped "f( c )" -> "pass"'
    assert list(dropped.lines) == [5, 6, 7]
    assert "+    pass\n" in dropped.diff
    assert "\n+\n" not in dropped.diff


def test_what_runs_at_import_is_outside_of_functions(tmp_path):
    text = "x = 7\ndef f(a=8):\n    return 9\nclass A:\n    b = 10\n"
    (tmp_path / "m.py").write_text(text)
    found = {mutant.before: mutant.is_imported for mutant in mutants_of(tmp_path, "m.py")}
    assert (found["7"], found["10"], found["9"]) == (True, True, False)
