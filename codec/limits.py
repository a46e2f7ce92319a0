"""Every limit of the format and of the readers, each with its reason.

Limits are checked before anything of such a size is allocated.
"""

# pictures and streams

MAX_SIDE = 65_535
"""Longest side of a picture in pixels: the stream stores sides in 16 bits."""

MAX_PIXELS = 1 << 28
"""Most pixels in one picture (268 megapixels): reading one takes up to 20 bytes a pixel, so memory
stays below about 5 GiB."""

MAX_LAYER_BYTES = 1 << 30
"""Longest layer (1 GiB): pages of the archive stay below Parquet's 2 GiB."""

MAX_LAYERS = 16
"""Most layers of a stream: a part names its layer in four bits."""

MAX_PALETTE_STEPS = 64
"""Most palette states of a stream: each takes 2 bytes per position of 16 x 16 pixels."""

# source pictures

MAX_SOURCE_BYTES = 1 << 29
"""Longest source file (512 MiB): source files are read whole into memory."""

MAX_SOURCE_FOOTER_BYTES = 1 << 24
"""Largest footer of a Parquet source (16 MiB, some 100,000 column chunks): decoded it may take
seventy times as much memory, about a gigabyte."""

MAX_TABLE_ROW_BYTES = 1 << 22
"""Longest row of a table of addresses in CSV or JSON lines (4 MiB): a row holds a key, an address
and labels, and a file without line breaks must not be read whole."""

MAX_PICTURE_PARTS = 1 << 18
"""Most chunks, segments, strips or tiles of a source picture: each costs time even if it is empty.
A TIFF of 65,535 rows and four planes, in strips of one row, has as many."""

MAX_JPEG_SCANS = 100
"""Most scans of a progressive JPEG: each costs a pass over all pixels, even if it has few bytes."""

MAX_PROFILE_BYTES = 1 << 22
"""Longest colour profile that is applied (4 MiB); printers' CMYK profiles have 0.5 to 3 MB."""

MAX_EXIF_BYTES = 1 << 16
"""Longest EXIF block that is stored (64 KiB): a segment of a JPEG holds no more."""

# archives

MAX_KEY_BYTES = 1024
"""Longest key of a row in UTF-8: object stores limit names to as much."""

MAX_METADATA_BYTES = 1 << 17
"""Longest metadata of a row in UTF-8 (128 KiB): an EXIF block in base64, and its main fields."""

MAX_MANIFEST_BYTES = 1 << 30
"""Largest manifest or commit record (1 GiB): records are parsed in memory."""

MAX_FOOTER_BYTES = 1 << 28
"""Largest Parquet footer of an archive file (256 MiB): footers are parsed in memory."""

MAX_PAGE_BYTES = (1 << 31) - 1
"""Largest Parquet page: its sizes are signed 32-bit."""

MAX_ARCHIVE_FILE_BYTES = 1 << 48
"""Longest file of an archive (256 TiB): sums of offsets and sizes stay within 64 bits."""

MAX_GROUP_ROWS = 1 << 24
"""Most rows of one row group: readers hold some bytes for each row of a group."""

MAX_COUNT = (1 << 53) - 1
"""Greatest count in a manifest or commit record: the largest integer that JSON readers of all
languages hold exactly; sums of counts fit 64 bits."""

MAX_UNPACKED_BYTES = 1 << 30
"""Most memory for one column of one row group after decompression (1 GiB)."""

# weights and networks

MAX_FETCHED_BYTES = 1 << 30
"""Longest file that is downloaded by its address (1 GiB): such files are held in memory."""

MAX_WIDTH = 250
"""Widest cells of a chain: the 130 widths that the first state spans stay below 2**15, the range of
int16 indices."""

MAX_CLASSES = 1 << 12
"""Most texture classes of a codebook: an encoder computes the cost of each class at each
position."""

MAX_EXPECTED_MAGNITUDE = 1 << 24
"""Expected magnitudes of a class stay below, so that bounds of activities fit 64 bits."""

MAX_NETWORK_WIDTH = 1 << 14
"""Most channels, classes or layers in the shape of a network: a square matrix of this
width takes 1 GiB."""

MAX_PREDICTION_WIDTH = 1 << 8
"""Most channels of the learned lifting step."""

MAX_NETWORK_DEPTH = 1 << 8
"""Most blocks of one trunk of the network: each is a module, built before its tensors are
checked."""

MAX_EMBEDDING = 256
"""Longest embedding of a class or position: encoders hold one for every position of a picture."""

MAX_HEAD_WIDTH = 1 << 12
"""Most hidden units of the semantic head: encoders compute them for every position of a picture."""

MAX_FEATURES = 1 << 16
"""Longest feature vector of a picture: the archive stores one in each row."""
