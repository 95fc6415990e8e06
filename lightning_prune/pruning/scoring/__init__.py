"""Scoring: what is accumulated in training, and the scores made of it."""
