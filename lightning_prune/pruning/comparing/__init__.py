"""Comparing: candidates are tried on held-out data, and the best one prunes."""
