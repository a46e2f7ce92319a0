"""Every limit of the format and of the readers, in one place.

Each is checked before anything of that size is allocated.
"""

MAX_SIDE = 65_535
"""Longest side of a picture in pixels: sides are 16-bit in the stream."""

MAX_PIXELS = 1 << 28
"""Most pixels in one picture (268 Mpx): bounds memory at about 4 GiB a picture."""

MAX_LAYER_BYTES = 1 << 30
"""Longest single layer; pages of the archive stay under Parquet's 2 GiB."""

MAX_SOURCE_BYTES = 1 << 29
"""Longest source file that is read whole (512 MiB)."""
