"""The entry of the command: arguments in, text and an exit status out."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lightning_prune.command.commands import COMMANDS
from lightning_prune.errors import ExampleInputsError, PruningError

FAILED = 1
"""The exit status where two models differ, a target is out of reach or an export fails."""

MISUSED = 2
"""The exit status where an argument is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line; by default those of this process.

    Returns:
        The exit status: 0, `FAILED` or `MISUSED`.
    """
    try:
        from jsonargparse import auto_cli
    except ImportError:
        sys.stderr.write(
            "Expected jsonargparse to be installed for the command, but got none. Run "
            "`pip install 'lightning-prune[cli]'`.\n"
        )
        return MISUSED
    given = [_as_option(argument) for argument in arguments or sys.argv[1:]]
    try:
        text = auto_cli(COMMANDS, args=given, prog="lightning-prune", description=_DESCRIPTION)
    except (ExampleInputsError, ValueError, TypeError, OSError, ImportError) as error:
        return _say(error, MISUSED)
    except PruningError as error:
        return _say(error, FAILED)
    sys.stdout.write(f"{text}\n")
    return 0


_FLAGS = {"--json", "--details"}
_DESCRIPTION = "Look at what of a model can be pruned, plan it, compare and export the result."


def _as_option(argument: str) -> str:
    """Return an argument as the parser knows it: with a value, and no dashes within a name."""
    name, *value = argument.split("=", 1)
    if argument in _FLAGS:
        return f"{argument}=true"
    is_name = name.startswith("--")
    return "=".join(["--" + name[2:].replace("-", "_"), *value]) if is_name else argument


def _say(error: Exception, status: int) -> int:
    sys.stderr.write(f"error: {error}\n")
    return status
