"""Choosing: which units are removed, given their scores."""
