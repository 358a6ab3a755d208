"""How checkpoints of one figure are told apart: in order, from pale to dark."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np

_MARKERS = "osD^vPX*"
#: Cividis was made to look alike to all eyes; its pale end is left out, where white swallows it.
_PALEST, _DARKEST, _ALONE = 0.82, 0.0, 0.25


def sequence_looks(count: int) -> list[dict[str, Any]]:
    """Looks of `count` lines: later ones are darker, and markers differ."""
    places = np.linspace(_PALEST, _DARKEST, count) if count > 1 else np.full(count, _ALONE)
    colours = matplotlib.colormaps["cividis"](places)
    return [
        {
            "color": tuple(float(part) for part in colour[:3]),
            "marker": _MARKERS[index % len(_MARKERS)],
            "markersize": 3.0,
            "linewidth": 1.1,
        }
        for index, colour in enumerate(colours)
    ]
