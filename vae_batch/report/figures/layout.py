"""Places of axes in a figure: as large as their labels leave room for.

Matplotlib's constrained layout does the same in two passes over everything, which takes a quarter
of the time of drawing a small figure three times; one pass is enough where all axes are alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_PAD = 3.0  # points around the figure and between its parts


def fit_axes(figure: Figure, rows: Sequence[Sequence[Axes]]) -> None:
    """Give axes in rows and columns equal sizes that fill the figure over its legend.

    Args:
        figure: its legends, if any, stand at its lower edge.
        rows: of axes; the last may be short.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    pad = _PAD * figure.dpi / 72
    width, height = figure.bbox.size
    floor = max((legend.get_window_extent(renderer).y1 for legend in figure.legends), default=0.0)
    left, right, bottom, top = np.zeros((4, len(rows), max(map(len, rows))))
    for row, members in enumerate(rows):
        for column, axes in enumerate(members):
            labels = [text for text in axes.texts if text.get_in_layout()]
            box = axes.bbox
            # Lines and bars lie within the axes; looking at each would take most of the time.
            tight = axes.get_tightbbox(renderer, bbox_extra_artists=labels, for_layout_only=True)
            left[row, column], right[row, column] = box.x0 - tight.x0, tight.x1 - box.x1
            bottom[row, column], top[row, column] = box.y0 - tight.y0, tight.y1 - box.y1
    lefts, rights = left.max(axis=0) + pad, right.max(axis=0) + pad
    tops, bottoms = top.max(axis=1) + pad, bottom.max(axis=1) + pad
    wide = max(1.0, (width - lefts.sum() - rights.sum()) / len(lefts))
    tall = max(1.0, (height - floor - tops.sum() - bottoms.sum()) / len(tops))
    y = height
    for members, above, below in zip(rows, tops, bottoms, strict=True):
        y -= above + tall
        x = 0.0
        for axes, before, after in zip(members, lefts, rights, strict=False):
            x += before
            distances = [_distance(axes, axis) for axis in (axes.xaxis, axes.yaxis)]
            axes.set_position((x / width, y / height, wide / width, tall / height))
            axes.xaxis.set_label_coords(0.5, -distances[0] / tall)
            axes.yaxis.set_label_coords(-distances[1] / wide, 0.5)
            x += wide + after
        y -= below


def _distance(axes: Axes, axis: Axis) -> float:
    """Pixels from the axes to the label of an axis, which is then kept: it takes long to find."""
    x, y = axis.label.get_transform().transform(axis.label.get_position())
    return float(axes.bbox.y0 - y if axis is axes.xaxis else axes.bbox.x0 - x)
