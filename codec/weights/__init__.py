"""Weights: the header and the content of a weights file."""
