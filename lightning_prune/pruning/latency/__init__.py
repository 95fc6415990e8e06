"""Targets in milliseconds: what units cost, and the search for what measures as asked."""
