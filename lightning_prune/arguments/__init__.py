"""Checks of arguments that are wrong by themselves."""

from lightning_prune.arguments.checks import (
    check_choice,
    check_flags,
    check_fraction,
    check_integer,
    check_name,
    check_number,
    check_positive,
    check_seed,
    check_sparsity,
)
from lightning_prune.arguments.objects import check_function, check_kind, check_list, check_model
from lightning_prune.arguments.paths import check_writable, path_of

__all__ = [
    "check_choice",
    "check_flags",
    "check_fraction",
    "check_function",
    "check_integer",
    "check_kind",
    "check_list",
    "check_model",
    "check_name",
    "check_number",
    "check_positive",
    "check_seed",
    "check_sparsity",
    "check_writable",
    "path_of",
]
