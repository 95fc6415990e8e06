"""The public names."""

import subprocess
import sys
from types import ModuleType

import lightning_prune


def test_public_names_are_sorted_and_exist():
    names = lightning_prune.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(lightning_prune, name) for name in names)


def test_what_can_be_imported_is_public():
    found = {
        name
        for name, value in vars(lightning_prune).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert found | {"metrics", "recipes"} == set(lightning_prune.__all__)


def test_every_public_name_is_documented():
    undocumented = [n for n in lightning_prune.__all__ if not getattr(lightning_prune, n).__doc__]
    assert undocumented == []


def test_the_import_adds_no_optional_dependency_to_that_of_lightning():
    code = (
        "import lightning, sys; before = set(sys.modules); import lightning_prune\n"
        "print({m.partition('.')[0] for m in set(sys.modules) - before}"
        " & {'sklearn', 'matplotlib', 'jinja2', 'jsonargparse', 'rich'})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr
