"""Checks of arguments that are wrong by themselves."""

from lightning_prune.arguments.checks import (
    check_at_least,
    check_kind,
    check_list,
    check_sparsity,
)

__all__ = ["check_at_least", "check_kind", "check_list", "check_sparsity"]
