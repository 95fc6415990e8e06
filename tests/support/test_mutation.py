"""The runner of mutants, on a package with one function that is tested and one that is only run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.mutants.verdicts import read_verdicts

TESTS = Path(__file__).parents[1]
PACKAGE = """
'''Two functions.'''

def larger(a: int, b: int) -> int:
    '''Return the larger.'''
    return a if a > b else b

def twice(a: int) -> int:
    return a * 2
"""
GOOD = """
import pytest
from toy.numbers import larger

@pytest.mark.parametrize(("a", "b"), [(1, 2), (2, 1)])
def test_larger(a, b):
    assert larger(a, b) == 2
"""
TOOTHLESS = """
from toy.numbers import twice

def test_twice_runs():
    twice(3)
"""
KILLED = "killed by tests/test_numbers.py::test_larger"
ALIVE = "SURVIVED 1 of 1 tests that run it"


@pytest.fixture
def toy(tmp_path):
    files = {
        "toy/__init__.py": "",
        "toy/numbers.py": PACKAGE,
        "tests/test_numbers.py": GOOD,
        "tests/test_toothless.py": TOOTHLESS,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(root, *options):
    command = [sys.executable, "-m", "support.mutation", "--root", root, "--preload", *options]
    output = root / "results.txt"
    done = subprocess.run(
        [*command, "--modules", "toy/*.py", "--output", output],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, {
        v.name.partition(" ")[2]: v.fate for v in read_verdicts(root / "results.txt")
    }


def test_what_no_assertion_sees_survives_and_the_rest_is_killed(toy):
    text, fates = run(toy)
    assert {change: fate.partition("[")[0] for change, fate in fates.items()} == {
        'boundary "a > b" -> "a >= b"': "SURVIVED 2 of 2 tests that run it",
        'comparison "a > b" -> "a <= b"': KILLED,
        'branch "a > b" -> "True"': KILLED,
        'branch "a > b" -> "False"': KILLED,
        'return "a if a > b else b" -> "None"': KILLED,
        'arithmetic "a * 2" -> "a / 2"': ALIVE,
        'constant "2" -> "1"': ALIVE,
        'constant "2" -> "3"': ALIVE,
        'return "a * 2" -> "None"': ALIVE,
    }
    assert fates['branch "a > b" -> "False"'].endswith("[2-1]")
    assert "-    return a * 2\n+    return a / 2\n" in text
    assert text.endswith("4 of 9 killed (44.4%), 0 by timeout\n")
    assert (toy / "toy" / "numbers.py").read_text() == PACKAGE


def test_a_run_goes_on_where_another_stopped(toy):
    _, fates = run(toy, "--sample", "4")
    assert len(fates) == 4
    marked = (toy / "results.txt").read_text().replace("killed by ", "killed by an earlier ")
    (toy / "results.txt").write_text(marked + "toy/numbers.py:6:4 not finis")
    _, fates = run(toy)
    assert len(fates) == 9
    assert 1 <= sum("an earlier" in fate for fate in fates.values()) < 4


def test_what_survived_an_earlier_run_is_run_again_with_the_tests_of_today(toy):
    run(toy)
    (toy / "results.txt").rename(toy / "earlier.txt")
    (toy / "toy" / "numbers.py").write_text("\n\n" + PACKAGE)
    (toy / "tests" / "test_toothless.py").write_text(
        TOOTHLESS.replace("twice(3)", "assert twice(3) == 6")
    )
    _, fates = run(toy, "--again", str(toy / "earlier.txt"))
    assert len(fates) == 5
    assert [change for change, fate in fates.items() if "SURVIVED" in fate] == [
        'boundary "a > b" -> "a >= b"'
    ]
