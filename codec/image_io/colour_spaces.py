"""Colour spaces that are named by numbers instead of an ICC profile, and profiles made from them.

Sources: ITU-T H.273 tables 2 and 3 (code points of primaries and transfer functions); ICC.1:2022
sections 7 to 10 and annex E (matrix profiles and adaptation to D50); Lindbloom, "RGB/XYZ matrices".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Curve = tuple[float, ...]
"""(g,) for y = x^g, or (g, a, b, c, d) for y = (a x + b)^g from x = d on, and c x below."""

_D65, _C, _E, _DCI = (0.3127, 0.329), (0.31, 0.316), (1 / 3, 1 / 3), (0.314, 0.351)
_BT709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_BT601 = (0.63, 0.34, 0.31, 0.595, 0.155, 0.07)
_P3 = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_BT240_CURVE = (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0913)

_PRIMARIES: dict[int, tuple[str, tuple[float, ...]]] = {
    1: ("BT.709", (*_BT709, *_D65)),
    4: ("BT.470 M", (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C)),
    5: ("BT.601 625", (0.64, 0.33, 0.29, 0.6, 0.15, 0.06, *_D65)),
    6: ("BT.601 525", (*_BT601, *_D65)),
    7: ("SMPTE 240M", (*_BT601, *_D65)),
    8: ("film", (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C)),
    9: ("BT.2020", (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, *_D65)),
    10: ("XYZ", (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, *_E)),
    11: ("DCI-P3", (*_P3, *_DCI)),
    12: ("Display P3", (*_P3, *_D65)),
    22: ("EBU 3213", (0.63, 0.34, 0.295, 0.605, 0.155, 0.077, *_D65)),
}
_TRANSFERS: dict[int, Curve] = {
    4: (2.2,),
    5: (2.8,),
    7: _BT240_CURVE,
    8: (1.0,),
    13: _SRGB_CURVE,
    17: (2.6,),
} | dict.fromkeys((1, 6, 11, 12, 14, 15), _BT709_CURVE)
_HDR = {16: "PQ", 18: "HLG"}
_UNSPECIFIED = (0, 2)


@dataclass(frozen=True)
class ColourSpace:
    """An RGB colour space: x and y of red, green, blue and white, and the curve to linear light."""

    name: str
    primaries: tuple[float, ...]
    curve: Curve


SRGB = ColourSpace("sRGB", _PRIMARIES[1][1], _SRGB_CURVE)
ADOBE_RGB = ColourSpace("Adobe RGB", (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65), (563 / 256,))
ROMM_RGB = ColourSpace(
    "ROMM RGB",
    (0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001, 0.3457, 0.3585),
    (1.8, 1.0, 0.0, 1 / 16, 16**-1.8),
)


def of_code_points(primaries: int, transfer: int) -> tuple[ColourSpace | None, str]:
    """Return the colour space of two H.273 code points, and a note if there is none.

    (None, "") if both are unspecified; one that is unspecified is taken to be that of sRGB.
    """
    if primaries in _UNSPECIFIED and transfer in _UNSPECIFIED:
        return None, ""
    name, chromaticities = _PRIMARIES.get(1 if primaries in _UNSPECIFIED else primaries, ("", ()))
    if transfer in _HDR:
        return None, f"{_HDR[transfer]} ({name or 'unknown primaries'}) not tone-mapped"
    curve = _TRANSFERS.get(13 if transfer in _UNSPECIFIED else transfer)
    if not chromaticities or curve is None:
        return None, f"colour space of primaries {primaries}, transfer {transfer} not applied"
    return ColourSpace(name, chromaticities, curve), ""


def of_gamma(
    exponent: float | None, primaries: tuple[float, ...] | None
) -> tuple[ColourSpace | None, str]:
    """Return the colour space of a decoding exponent and chromaticities, either of them None.

    An exponent within 5 % of 2.2 with the primaries of sRGB means sRGB. A note comes back instead
    of a space if the values describe none.
    """
    if exponent is not None and not 0.1 <= exponent <= 10:
        return None, f"gamma {exponent:.3f} not applied"
    standard = primaries is None or np.allclose(primaries, SRGB.primaries, atol=0.002)
    if standard and (exponent is None or abs(exponent / 2.2 - 1) < 0.05):
        return SRGB, ""
    chosen = SRGB.primaries if primaries is None or standard else primaries
    try:
        with np.errstate(all="ignore"):
            matrices = np.stack([_to_d50(chosen), _adaptation(chosen)])
    except (np.linalg.LinAlgError, ZeroDivisionError):
        matrices = np.full((1, 3, 3), np.nan)
    if not np.isfinite(matrices).all() or np.abs(matrices).max() > 10:
        return None, "chromaticities not applied"
    name = f"gamma {1 / exponent:.3f}" if exponent else "chromaticities"
    return ColourSpace(name, chosen, (exponent,) if exponent else SRGB.curve), ""


@lru_cache(maxsize=32)
def profile_of(space: ColourSpace) -> bytes:
    """Return an ICC profile, version 4, of a colour space."""
    matrix = _to_d50(space.primaries)
    curve = struct.pack(">4sIHH", b"para", 0, 3 if len(space.curve) > 1 else 0, 0)
    curve += b"".join(map(_fixed, space.curve))
    text = space.name.encode("utf-16-be")
    words = struct.pack(">4sIII4sII", b"mluc", 0, 1, 12, b"enUS", len(text), 28) + text
    adaptation = b"sf32" + bytes(4) + b"".join(map(_fixed, _adaptation(space.primaries).ravel()))
    tags = {b"desc": words, b"cprt": words, b"wtpt": _xyz(_D50), b"chad": adaptation}
    tags |= {name: _xyz(matrix[:, k]) for k, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    entries, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        entries += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", start + len(body), bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ "
    )
    head += bytes(12) + b"acsp" + bytes(28) + _xyz(_D50)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + body


_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def _white(primaries: tuple[float, ...]) -> np.ndarray:
    x, y = primaries[6:8]
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adaptation(primaries: tuple[float, ...]) -> np.ndarray:
    """Return the matrix that adapts XYZ of the space's white to D50."""
    scale = (_BRADFORD @ _D50) / (_BRADFORD @ _white(primaries))
    return np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD


def _to_d50(primaries: tuple[float, ...]) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ relative to D50."""
    corners = np.array([(x, y, 1 - x - y) for x, y in np.reshape(primaries[:6], (3, 2))]).T
    matrix = corners * np.linalg.solve(corners, _white(primaries))
    return _adaptation(primaries) @ matrix


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(float(value) * 65536))


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))
