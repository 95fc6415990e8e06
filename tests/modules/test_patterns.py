import pytest

from lightning_prune.modules.patterns import check_patterns, matches


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("head", ["head"], True),
        ("head.fc", ["head"], True),
        ("header", ["head"], False),
        ("net.head", ["head"], False),
        ("layer1.0.conv1", ["layer?.*.conv1"], True),
        ("layer1.0.conv1.x", ["layer1.*"], True),
        ("Head", ["head"], False),
        ("a", ["b", "a"], True),
        ("a", [], False),
        ("", ["*"], True),
    ],
)
def test_matches(name, patterns, expected):
    assert matches(name, patterns) is expected


def test_known_patterns_pass():
    check_patterns("exclude", ["head", "layer?"], ["", "layer1", "head"])


def test_close_names_are_offered():
    with pytest.raises(ValueError, match=r"Expected `exclude`.*'haed'.*Did you mean head"):
        check_patterns("exclude", ["haed"], ["", "layer1", "head"])


def test_without_a_close_name_the_cure_is_general():
    with pytest.raises(ValueError, match=r"'zzz'.*named_modules"):
        check_patterns("include", ["zzz"], ["layer1"])
