"""The table of coupling rules.

A rule is a function of a propagation and a node; it opens with its equation, says what is tied,
and returns the planes of each output. `rule` registers it under the base names of operations, as
in ``aten::relu`` (all overloads and the in-place form together).
"""

from __future__ import annotations

from collections.abc import Callable

from lightning_prune.coupling.propagate import CREATING, MOVING, Rule

RULES: dict[str, Rule] = {}


def rule(*names: str, creates: bool = False, moves: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule for operations.

    Args:
        names: base names, such as ``aten::conv2d``.
        creates: the rule labels its outputs even where no input has a label.
        moves: a result holds nothing but elements of the first input.

    Returns:
        A decorator that leaves the function as it is.

    Raises:
        ValueError: if an operation has a rule already.
    """

    def register(function: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ValueError(
                    f"Expected `names` to be operations without a rule, but got {name}, which has "
                    "one. Change that rule instead of adding a second."
                )
            RULES[name] = function
            if creates:
                CREATING.add(name)
            if moves:
                MOVING.add(name)
        return function

    return register
