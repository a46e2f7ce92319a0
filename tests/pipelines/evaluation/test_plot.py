"""Plots of rate and distortion: every label can be read."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from underpaint.pipelines.evaluation.measurement import CODEC
from underpaint.pipelines.evaluation.plot import draw_curves


def test_leader_lines_cross_no_label_and_labels_no_other() -> None:
    figure = Figure(figsize=(6.4, 5.6), dpi=110, layout="constrained")
    panel = figure.subplots()
    codecs = [CODEC, *(f"peer {number}" for number in range(9))]
    curves = [
        (codec, codec, np.geomspace(0.03, 2 + at % 3, 8).tolist(), np.linspace(20, 40, 8).tolist())
        for at, codec in enumerate(codecs)
    ]
    draw_curves(panel, curves, "PSNR, dB")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    labels = [one for one in panel.texts if isinstance(one, Annotation)]
    assert {label.get_text() for label in labels} == set(codecs)
    boxes = [Text.get_window_extent(label, canvas.get_renderer()) for label in labels]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    for label in labels:
        assert label.arrow_patch is not None
        line = label.arrow_patch.get_transform().transform_path(label.arrow_patch.get_path())
        assert not any(line.intersects_bbox(box, filled=False) for box in boxes)
