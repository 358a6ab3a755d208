"""Labels beside points, none over another label, a point or the frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from vae_batch.report.colours import LIGHT
from vae_batch.report.figures.printing import plain, width_in_points

_POINTS = 6.5
_RADIUS = 2.6  # of a point's marker, in points
#: Where a label's corner or side touches its point, best place first.
_SIDES = ((1, 0), (1, 1), (-1, 0), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1))
_REACHES = (1.0, 2.2)


def place_labels(axes: Axes, labels: Sequence[tuple[str, float, float]]) -> int:
    """Write as many labels as there is room for; call once the layout is final.

    Args:
        axes: whose points are labelled.
        labels: text, x and y, the most important first; each is also a point to keep clear of.

    Returns:
        How many found no room and are not written.
    """
    point = axes.figure.dpi / 72
    centres = axes.transData.transform([(x, y) for _, x, y in labels])
    taken = [_around(centre, _RADIUS * point) for centre in centres]
    missing = 0
    for (text, x, y), centre in zip(labels, centres, strict=True):
        half = np.array([width_in_points(text, _POINTS), _POINTS]) * point / 2
        place = _free_place(centre, half, taken, axes.bbox, point)
        if place is None:
            missing += 1
            continue
        taken.append(place)
        # As an offset from the point in points, which every file format places alike.
        offset = (place.min + place.max - 2 * centre) / 2 / point
        axes.annotate(plain(text), (x, y), offset, **_LOOK)
    return missing


_LOOK: dict[str, Any] = {
    "textcoords": "offset points",
    "size": _POINTS,
    "color": LIGHT.text,
    "ha": "center",
    "va": "center",
}


def _around(centre: NDArray[np.float64], radius: float) -> Bbox:
    return Bbox([centre - radius, centre + radius])


def _free_place(
    centre: NDArray[np.float64],
    half: NDArray[np.float64],
    taken: Sequence[Bbox],
    frame: Bbox,
    point: float,
) -> Bbox | None:
    """The first place beside `centre` that overlaps nothing and lies in the frame."""
    for reach in _REACHES:
        for side in _SIDES:
            middle = centre + np.array(side) * (half + _RADIUS * reach * point)
            box = Bbox([middle - half, middle + half])
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
            inside = inside and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                return box
    return None
