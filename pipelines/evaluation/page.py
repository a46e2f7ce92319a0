"""The evaluation as one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from underpaint.codec.runtime.pages import page_environment
from underpaint.pipelines.evaluation.crops import CropRow


@dataclass(frozen=True)
class Section:
    """A heading, a note that explains the table, and the table as text."""

    heading: str
    note: str
    table: str


@dataclass(frozen=True)
class Plot:
    """A plot as a PNG file; the title is its alternative text."""

    title: str
    png: bytes


@dataclass(frozen=True)
class PhotoCrops:
    """The rows of crops of one photo."""

    name: str
    rows: Sequence[CropRow]


def evaluation_page(
    title: str,
    summary: str,
    sections: Sequence[Section],
    plots: Sequence[Plot],
    photos: Sequence[PhotoCrops],
) -> str:
    """Return the evaluation as an HTML document; all text is escaped."""
    environment = page_environment("underpaint.pipelines.evaluation")
    environment.filters["data_url"] = _data_url
    return environment.get_template("evaluation.html").render(
        title=title, summary=summary, sections=sections, plots=plots, photos=photos
    )


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
