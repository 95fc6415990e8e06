"""Compensating: readers of removed units are changed, so that their outputs stay near."""
