"""One image of an archive at every state, as a page that a browser shows by itself.

The page holds no script and loads nothing: pictures are data URLs, what came with the image is
escaped, and a content policy forbids the rest.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.schema import Row
from underpaint.codec.codec import Codec
from underpaint.codec.image_io.read import write_picture
from underpaint.codec.transform.wavelet import BLOCK

LONGEST_SIDE = 1600
"""Pictures of the page are reduced to this many pixels; their figures are of the stored image."""

SWATCHES = 256
"""Most palette entries that a state shows."""


@dataclass(frozen=True)
class PaletteEntry:
    """One texture class that a state of an image uses."""

    index: int
    """Of the class in the weights' codebook."""
    share: float
    """Of the image's positions."""
    colour: tuple[int, int, int]
    """Mean sRGB of the decoded pixels at its positions."""


@dataclass(frozen=True)
class StateView:
    """One state of one image."""

    name: str
    layer_bytes: int
    """Of the layer that leads to this state."""
    total_bytes: int
    """Of all layers up to this state."""
    pixels: np.ndarray
    """uint8 [H, W, 3], decoded."""
    class_map: np.ndarray
    """int64 [h, w], h = ceil(H / 16)."""
    palette: tuple[PaletteEntry, ...]
    """The most used first."""

    @property
    def bpp(self) -> float:
        """Bits a pixel of all layers up to this state."""
        return self.total_bytes * 8 / (self.pixels.shape[0] * self.pixels.shape[1])


def states_of(codec: Codec, row: Row, names: Sequence[str]) -> list[StateView]:
    """Every state of an image; `names` are those of the archive's layers. Raises as `decode`."""
    prefixes = [row.layers[: count + 1] for count in range(len(row.layers))]
    views = []
    for layer, prefix in enumerate(prefixes):
        (pixels,), (latents,) = codec.decode([prefix]), codec.latents([prefix])
        views.append(
            StateView(
                names[layer],
                len(prefix[-1]),
                sum(map(len, prefix)),
                pixels,
                latents.class_map,
                _palette(pixels, latents.class_map),
            )
        )
    return views


def page_of(
    archive: Archive, key: str, *, weights: str | None = None, device: str = "cpu"
) -> tuple[str, list[StateView]]:
    """A whole HTML page of one image, and what it shows.

    Raises NoSuchKey, WeightsMismatch, LayerDamaged and what reading an archive raises.
    """
    row = archive.get(key)
    codec = Codec.load_for(archive.weights_id, weights, device=device)
    states = states_of(codec, row, archive.layer_names)
    return render(row, states), states


def render(row: Row, states: Sequence[StateView]) -> str:
    """The page of a row and its states, HTML 5."""
    last = len(states) - 1
    radios = "".join(
        f'<input type="radio" name="state" id="s{n}"{" checked" if n == last else ""}>'
        for n in range(len(states))
    )
    tabs = "".join(
        f'<label for="s{n}"><b>{n + 1}</b> {escape(state.name)}<small>{state.bpp:.3f} bpp</small>'
        "</label>"
        for n, state in enumerate(states)
    )
    shown = "".join(
        f"#s{n}:checked~main section:nth-of-type({n + 1}){{display:block}}"
        f"#s{n}:checked~nav label:nth-of-type({n + 1}){{background:#124a63;color:#fff}}"
        for n in range(len(states))
    )
    facts = [
        ("Size", f"{row.width} × {row.height}"),
        ("Source", row.source_uri or "unknown"),
        ("Source bytes", f"{row.source_bytes:,}"),
        *[(name, str(value)) for name, value in row.labels.items() if value is not None],
        *[("Note", note) for note in row.notes],
    ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    sections = "".join(_section(state, row) for state in states)
    title = escape(row.key)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} · Underpaint</title><style>{_STYLE}{shown}</style></head><body>"
        f"<header><h1>{title}</h1><dl>{rows}</dl></header>{radios}<nav>{tabs}</nav>"
        f"<main>{sections}</main></body></html>\n"
    )


def _section(state: StateView, row: Row) -> str:
    height, width, _ = state.pixels.shape
    ratio = f", source / {row.source_bytes / state.total_bytes:.1f}" if row.source_bytes else ""
    colours = {entry.index: entry.colour for entry in state.palette}
    mapped = np.zeros((*state.class_map.shape, 3), np.uint8)
    for index, colour in colours.items():
        mapped[state.class_map == index] = colour
    swatches = "".join(
        f'<li><i style="background:rgb{entry.colour}"></i>{entry.index}'
        f"<small>{entry.share:.1%}</small></li>"
        for entry in state.palette[:SWATCHES]
    )
    return (
        f"<section><p><b>{state.layer_bytes:,}</b> bytes in this layer, "
        f"<b>{state.total_bytes:,}</b> up to here: {state.bpp:.4f} bits a pixel{ratio}</p>"
        f'<img class="picture" width="{width}" height="{height}" alt="The image at this state" '
        f'src="{_data_url(state.pixels)}">'
        '<div class="side"><figure><figcaption>Class map, in mean colours</figcaption>'
        f'<img class="map" alt="Class map" src="{_data_url(mapped)}"></figure>'
        f"<h2>Palette: {len(state.palette)} classes</h2><ul>{swatches}</ul></div></section>"
    )


def _palette(pixels: np.ndarray, class_map: np.ndarray) -> tuple[PaletteEntry, ...]:
    height, width, _ = pixels.shape
    per_pixel = np.repeat(np.repeat(class_map, BLOCK, 0), BLOCK, 1)[:height, :width]
    classes, places, counts = np.unique(class_map, return_inverse=True, return_counts=True)
    index = np.searchsorted(classes, per_pixel.ravel())
    area = np.bincount(index, minlength=len(classes))
    sums = [np.bincount(index, pixels[..., c].ravel(), len(classes)) for c in range(3)]
    means = np.rint(np.stack(sums, 1) / np.maximum(area, 1)[:, None]).astype(int)
    entries = [
        PaletteEntry(int(one), int(n) / places.size, (int(m[0]), int(m[1]), int(m[2])))
        for one, n, m in zip(classes, counts, means, strict=True)
    ]
    return tuple(sorted(entries, key=lambda entry: (-entry.share, entry.index)))


def _data_url(pixels: np.ndarray) -> str:
    longest = max(pixels.shape[:2])
    if longest > LONGEST_SIDE:
        height, width = (max(1, side * LONGEST_SIDE // longest) for side in pixels.shape[:2])
        reduced = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
        pixels = np.asarray(reduced)
    data = write_picture(np.ascontiguousarray(pixels), "png")
    return "data:image/png;base64," + base64.b64encode(data).decode()


_STYLE = (
    "body{margin:0;font:16px/1.5 system-ui,sans-serif;color:#1c2429;background:#f4f1ea}"
    "header,nav,main{max-width:1400px;margin:auto;padding:0 1rem}"
    "h1{font-size:1.3rem;margin:1rem 0 .3rem;overflow-wrap:anywhere}h2{font-size:1rem}"
    "dl{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:0 0 1rem;font-size:.85rem}"
    "dt{color:#59656d}dd{margin:0 0 0 -.8rem;overflow-wrap:anywhere}"
    "input{position:absolute;opacity:0}"
    "nav{display:flex;flex-wrap:wrap;gap:.4rem}"
    "label{padding:.3rem .7rem;border-radius:.4rem;background:#ddd6c8;cursor:pointer}"
    "input:focus-visible~nav{outline:2px solid #124a63}"
    "small{display:block;font-size:.75rem;opacity:.75}"
    "section{display:none}img{image-rendering:pixelated;max-width:100%;height:auto}"
    ".picture{image-rendering:auto;border-radius:.3rem;box-shadow:0 1px 6px #0004}"
    ".side{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}"
    "figure{margin:1rem 0}figcaption{font-size:.85rem}.map{width:20rem}"
    "ul{list-style:none;display:flex;flex-wrap:wrap;gap:.4rem;padding:0;flex-basis:30rem;flex-grow:1}"
    "li{font-size:.75rem;text-align:center}li small{font-size:.65rem}"
    "i{display:block;width:2.6rem;height:2.6rem;border-radius:.3rem}"
)
