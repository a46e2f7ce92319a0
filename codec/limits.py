"""Every limit of the format and of the readers, in one place.

Each is checked before anything of that size is allocated.
"""

MAX_SIDE = 65_535
"""Longest side of a picture in pixels: sides are 16-bit in the stream."""

MAX_PIXELS = 1 << 28
"""Most pixels in one picture (268 Mpx): bounds memory at about 5 GiB a picture
(up to 20 bytes a pixel while it is read)."""

MAX_LAYER_BYTES = 1 << 30
"""Longest single layer; pages of the archive stay under Parquet's 2 GiB."""

MAX_SOURCE_BYTES = 1 << 29
"""Longest source file that is read whole (512 MiB)."""

MAX_LAYERS = 64
"""Most layers of an archive: one column each."""

MAX_KEY_BYTES = 1024
"""Longest key of a row in UTF-8."""

MAX_MANIFEST_BYTES = 1 << 30
"""Largest manifest or commit record that is read (1 GiB)."""

MAX_FOOTER_BYTES = 1 << 28
"""Largest Parquet footer that is read (256 MiB)."""

MAX_SOURCE_FOOTER_BYTES = 1 << 24
"""Largest footer of a Parquet source (16 MiB, some 100,000 column chunks): its parts may take
seventy times as much memory, about a gigabyte."""

MAX_TABLE_ROW_BYTES = 1 << 22
"""Longest row of a table of addresses in CSV or JSON lines (4 MiB)."""

MAX_PAGE_BYTES = (1 << 31) - 1
"""Largest Parquet page: its sizes are signed 32-bit."""

MAX_ARCHIVE_FILE_BYTES = 1 << 48
"""Longest file of an archive (256 TiB): places in it stay within what numbers hold."""

MAX_GROUP_ROWS = 1 << 24
"""Most rows of one row group of an archive."""

MAX_COUNT = (1 << 53) - 1
"""Greatest count in a manifest or commit record: what JSON readers of all languages hold exactly,
and sums of which fit 64 bits."""

MAX_UNPACKED_BYTES = 1 << 30
"""Most memory that one column of one row group may take once unpacked (1 GiB)."""

MAX_PICTURE_PARTS = 1 << 18
"""Most chunks, segments, strips or tiles one source picture is cut into (65,535 rows x 4
planes)."""

MAX_JPEG_SCANS = 100
"""Most scans of a progressive JPEG: each costs a pass over all pixels, even when it is a few
bytes."""

MAX_PROFILE_BYTES = 1 << 22
"""Longest colour profile that is applied (4 MiB); printers' CMYK profiles have 0.5 to 3 MB."""

MAX_FETCHED_BYTES = 1 << 30
"""Longest file that is fetched whole by its address: weights (1 GiB)."""

MAX_WIDTH = 250
"""Widest cells of a chain: the 130 widths that its first state spans stay below 2**15."""

MAX_CLASSES = 1 << 12
"""Most texture classes of a codebook."""

MAX_EXPECTED_MAGNITUDE = 1 << 24
"""Expected magnitudes of a class stay below, so that bounds of activities fit 64 bits."""

MAX_NETWORK_WIDTH = 1 << 14
"""Most channels, classes or layers that a network's shape may name."""

MAX_NETWORK_DEPTH = 1 << 8
"""Most blocks of one trunk of the network."""

MAX_PALETTE_STEPS = 64
"""Most palette states of a stream: each costs 2 bytes a position of 16 x 16 pixels."""

MAX_EMBEDDING = 256
"""Longest embedding of a class or position."""

MAX_HEAD_WIDTH = 1 << 12
"""Most hidden units of the semantic head."""

MAX_FEATURES = 1 << 16
"""Longest vector of features of one picture."""
