"""Choosing: which units go, given their scores."""
