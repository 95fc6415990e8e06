"""The command ``lightning-prune``: inspect, plan, verify and export from a terminal."""

from lightning_prune.command.main import main

__all__ = ["main"]
