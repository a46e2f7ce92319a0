"""Reconstruction in compiled loops on a CPU."""
