"""Measuring the codec against peers."""
