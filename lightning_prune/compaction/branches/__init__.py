"""Branches: residual branches that add nothing but zeros are taken out."""
