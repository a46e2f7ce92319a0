"""Levels of the wavelet, for modules that must not load compiled functions."""

from __future__ import annotations

DYADIC_LEVELS = 4
"""Levels that halve exactly, from pixels down to one sample a position. Classes and networks work
at this resolution, 1/16."""
