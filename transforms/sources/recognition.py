"""Recognises pictures by their first bytes."""

from __future__ import annotations

import re

HEAD_BYTES = 4096
"""Number of bytes at the start of a file that identify its format."""

_PICTURES = re.compile(
    rb"""(?xs)
    \s?\s?\xff\xd8\xff | \x89PNG | \x8bJNG | \x8aMNG | RIFF....WEBP | GIF8[79]a
    | ....ftyp(avif|avis|mif1|msf1|heic|heix|heim|heis|hevc|hevx|crx\ )
    | II\x2a\0 | MM\0\x2a | II\x2b\0 | MM\0\x2b | II\xbc | IIRO | IIRS | IIU\0
    | \xff\x4f\xff\x51 | \0\0\0\x0cjP\x20\x20\r\n\x87\n
    | \xff\x0a | \0\0\0\x0cJXL\x20\r\n\x87\n
    | P[1-6fF][\s\#] | BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0
    | 8BPS\0[\1\2] | DDS\x20\x7c\0\0\0 | \x76\x2f\x31\x01 | \#\?(RADIANCE|RGBE)
    | FUJIFILMCCD-RAW | \0MRM | FOVb | gimp\x20xcf | qoif | \x59\xa6\x6a\x95 | icns | BPG\xfb
    | \0\0[\1\2]\0[\1-\x40]\0..\0 | \n[\0-\5]\x01[\1\2\4\x08] | \x01\xda[\0\1][\1\2]
    | .\0[\2\3\n\x0b]\0{5}.{8}[\x08\x10\x18\x20][\0\1\x08\x20\x21\x28]
    | %!PS-Adobe-[\d.]+\ EPSF | \xc5\xd0\xd3\xc6 | SIMPLE\ \ = | .{128}DICM
    """
)
_SVG = re.compile(
    rb"(?s)(\xef\xbb\xbf)?\s*(<\?xml.*?\?>\s*)?(<!--.*?-->\s*|<!DOCTYPE svg.*?>\s*)*<svg[\s>]"
)


def is_picture(head: bytes) -> bool:
    """Return whether these first bytes are those of a picture, in a readable format or not."""
    return bool(_PICTURES.match(head) or _SVG.match(head))
