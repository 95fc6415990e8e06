"""The parts of the duel: problems, methods, rivals, and how each runs."""
