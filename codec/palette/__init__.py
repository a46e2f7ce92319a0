"""Palettes: texture classes, their semantic embedding and the chain of merges."""
