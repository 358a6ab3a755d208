"""Which axes of a curve are logarithmic: those on which its points would otherwise crowd."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vae_batch.report.curves import Axis, Curve

_WIDE_STEPS, _EARLY = 16.0, 0.25
_WIDE_VALUES, _TOO_WIDE = np.log10(20.0), 12.0  # decades


def logarithmic_steps(axis: Axis) -> bool:
    """Whether steps are spaced like powers: 1, 2, 4, 8 and on, all above zero."""
    steps = np.unique([*axis.positions.values()])
    if axis.names is not None or len(steps) < 4 or steps[0] <= 0:
        return False
    return bool(steps[-1] >= _WIDE_STEPS * steps[0] and np.median(steps) <= _EARLY * steps[-1])


def logarithmic_values(curve: Curve) -> bool:
    """Whether a metric that is better lower, and above zero throughout, spans a factor of 20.

    Its best values, which matter most, would lie on one another.
    """
    values = finite_values(curve)
    if curve.metric.direction != "lower" or not len(values) or values.min() <= 0:
        return False
    decades = np.log10(values.max()) - np.log10(values.min())
    return bool(_WIDE_VALUES <= decades <= _TOO_WIDE)


def finite_values(curve: Curve) -> NDArray[np.float64]:
    """Every finite number that the curve draws: values, corrected ones and ends of intervals."""
    arrays = [a for s in curve.series for a in (s.y, s.corrected, s.low, s.high)]
    drawn = np.concatenate([np.empty(0), *arrays])
    return drawn[np.isfinite(drawn)]
