"""The evaluation as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from underpaint.pipelines.evaluation.crops import CropRow

STYLE = """
:root { color-scheme: light; }
body { margin: 2rem auto; padding: 0 1.5rem; max-width: 86rem;
       font: 15px/1.5 system-ui, sans-serif; color: #1d1d1f; background: #fff; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { margin-top: 2.4rem; font-size: 1.2rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
.note { color: #57575c; max-width: 60rem; }
pre { font: 13px/1.45 ui-monospace, monospace; background: #f6f6f7; padding: .8rem 1rem;
      overflow-x: auto; border-radius: 6px; }
.plot { max-width: 100%; }
.row { display: flex; gap: 10px; overflow-x: auto; padding-bottom: 6px; }
figure { margin: 0; flex: none; width: 264px; }
figure img { width: 264px; image-rendering: pixelated; display: block; background: #ddd; }
figcaption { font-size: 12px; color: #45454a; margin-top: 3px; }
figure.ours figcaption { color: #b3261e; font-weight: 600; }
"""


@dataclass(frozen=True)
class Section:
    """A heading, a line that says what is shown, and a table as plain text."""

    heading: str
    note: str
    table: str


def evaluation_page(
    title: str,
    summary: str,
    sections: Sequence[Section],
    plots: Sequence[tuple[str, bytes]],
    photos: Sequence[tuple[str, Sequence[CropRow]]],
) -> str:
    """One HTML document. All text is escaped; `plots` are (alternative text, PNG) pairs."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{escape(summary)}</p>',
    ]
    for alternative, png in plots:
        parts.append(f'<img class="plot" alt="{escape(alternative)}" src="{_data_url(png)}">')
    for section in sections:
        parts.append(f"<h2>{escape(section.heading)}</h2>")
        parts.append(f'<p class="note">{escape(section.note)}</p>')
        parts.append(f"<pre>{escape(section.table)}</pre>")
    if photos:
        parts.append("<h2>Crops at equal bytes</h2>")
        parts.append(
            '<p class="note">The busiest window of each photo, magnified. Each peer is shown at '
            "the quality whose file comes nearest to the bytes of the state; a peer that cannot "
            "go that low or high is shown at the end of its range. The factor is its bytes over "
            "those of the state.</p>"
        )
    for name, rows in photos:
        parts.append(f"<h3>{escape(name)}</h3>")
        for row in rows:
            parts.append(f'<p class="note">{escape(row.title)}</p><div class="row">')
            for at, crop in enumerate(row.crops):
                kind = ' class="ours"' if at == 1 else ""
                parts.append(
                    f'<figure{kind}><img alt="{escape(crop.caption)}" src="{_data_url(crop.png)}">'
                    f"<figcaption>{escape(crop.caption)}</figcaption></figure>"
                )
            parts.append("</div>")
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
