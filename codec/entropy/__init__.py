"""Entropy coding: integer rANS, context models and the coders of coefficients and palette maps."""
