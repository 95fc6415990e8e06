"""Checks of arguments that are wrong by themselves."""

from lightning_prune.arguments.checks import (
    check_choice,
    check_fraction,
    check_integer,
    check_kind,
    check_list,
    check_number,
    check_positive,
    check_seed,
    check_sparsity,
)

__all__ = [
    "check_choice",
    "check_fraction",
    "check_integer",
    "check_kind",
    "check_list",
    "check_number",
    "check_positive",
    "check_seed",
    "check_sparsity",
]
