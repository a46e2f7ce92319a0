"""Quantisation: nested cells, reconstruction points and rate-distortion optimisation."""
