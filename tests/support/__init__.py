"""Nets, data and scripts that several tests share."""
