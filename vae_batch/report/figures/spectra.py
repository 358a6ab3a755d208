"""Power spectra of generated and real images: what a blurred decoder leaves out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from vae_batch.report.colours import LIGHT
from vae_batch.report.figures.figure import LeftOut, PlannedFigure, numbers, vector
from vae_batch.report.figures.layout import fit_axes
from vae_batch.report.figures.printing import SINGLE_COLUMN, plain
from vae_batch.report.figures.sequence_looks import sequence_looks
from vae_batch.report.gallery import Gallery
from vae_batch.report.labels import elide

_SIZE = (SINGLE_COLUMN, 2.7)
_FREQUENCY_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_REFERENCE: dict[str, Any] = {"color": LIGHT.text, "lw": 1.4, "ls": "-"}
_REACH = 1e10
_UNITS = {"frequency": "cycles/pixel", "power": "squared 8-bit levels"}


def spectrum_figure(checkpoint: str, slug: str, gallery: Gallery) -> PlannedFigure | LeftOut:
    """`spectrum-<slug>`: one checkpoint's samples against the reference set."""
    name = f"spectrum-{slug}"
    if "spectrum_power" not in gallery:
        return LeftOut(name, "no power spectrum is stored", checkpoint)
    title = "Power spectrum of generated and real images"
    build = partial(_build, {checkpoint: gallery}, {checkpoint: "generated"}, checkpoint)
    values = _values({checkpoint: gallery}, {checkpoint: "generated"})
    return PlannedFigure(name, title, values, vector(build), checkpoint)


def spectra_figure(
    galleries: Mapping[str, Gallery], names: Mapping[str, str]
) -> Iterator[PlannedFigure]:
    """`spectrum`: several checkpoints against the reference set."""
    stored = {c: gallery for c, gallery in galleries.items() if "spectrum_power" in gallery}
    # Images of another size have other frequencies.
    sizes = [len(gallery["spectrum_frequencies"]) for gallery in stored.values()]
    stored = {
        c: gallery for c, gallery in stored.items() if len(gallery["spectrum_power"]) == sizes[0]
    }
    if len(stored) < 2:
        return
    title = "Power spectra of generated and real images"
    build = partial(_build, stored, names, "")
    yield PlannedFigure("spectrum", title, _values(stored, names), vector(build))


def _values(galleries: Mapping[str, Gallery], names: Mapping[str, str]) -> dict[str, Any]:
    first = next(iter(galleries.values()))
    return {
        "kind": "spectrum",
        "units": _UNITS,
        "scales": {"frequency": "log", "power": "log"},
        "frequencies": numbers(first["spectrum_frequencies"]),
        "reference": numbers(first["spectrum_power_reference"]),
        "series": [
            {
                "checkpoint": checkpoint,
                "label": names[checkpoint],
                "power": numbers(gallery["spectrum_power"]),
            }
            for checkpoint, gallery in galleries.items()
        ],
    }


def _build(galleries: Mapping[str, Gallery], names: Mapping[str, str], checkpoint: str) -> Figure:
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    looks = sequence_looks(len(galleries))
    first = next(iter(galleries.values()))
    frequencies = drawable(first["spectrum_frequencies"])
    real = drawable(first["spectrum_power_reference"])
    scale = float(np.nanmax(real, initial=1e-3))
    axes.plot(frequencies, real, label="real", **_REFERENCE)
    for (label, gallery), look in zip(galleries.items(), looks, strict=True):
        power = drawable(gallery["spectrum_power"], scale)
        axes.plot(frequencies, power, label=plain(elide(names[label], 24)), **look)
    _scale(axes, frequencies)
    axes.set_title("Power spectrum", pad=14 if checkpoint else None)
    if checkpoint:
        axes.annotate(
            plain(elide(checkpoint, 48)),
            (0, 1),
            (0, 4),
            xycoords="axes fraction",
            textcoords="offset points",
            color=LIGHT.faint,
            size="small",
        )
    axes.set_xlabel(f"frequency ({_UNITS['frequency']})")
    axes.set_ylabel(f"power ({_UNITS['power']})")
    figure.legend(loc="lower left", ncols=2)
    fit_axes(figure, [[axes]])
    return figure


def drawable(values: NDArray[np.floating], scale: float = 1.0) -> NDArray[np.float64]:
    """Values as a logarithmic axis can have them: NaN where they are no power of interest.

    That is zero, what is not finite, and what is 10 orders of magnitude away from `scale`, such
    as the rounding errors that a constant image has for a spectrum.
    """
    floats = np.asarray(values, dtype=np.float64)
    kept = np.isfinite(floats) & (floats > scale / _REACH) & (floats < scale * _REACH)
    return np.where(kept, floats, np.nan)


def _scale(axes: Axes, frequencies: NDArray[np.float64]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(NullFormatter())  # until its ticks have names
    axes.set_xticks(_FREQUENCY_TICKS, [f"{tick:g}" for tick in _FREQUENCY_TICKS])
    known = frequencies[np.isfinite(frequencies)]
    if len(known):
        axes.set_xlim(known.min() / 1.1, known.max() * 1.1)
    powers = np.concatenate([line.get_ydata() for line in axes.lines])
    if np.isfinite(powers).any():
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda power, _: _power_of_ten(power)))
    axes.minorticks_off()  # dozens of them take half the time of drawing


_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _power_of_ten(value: float) -> str:
    """A tick's label in plain letters: a formula takes long to set, and fonts of its own."""
    return f"10{str(round(math.log10(value))).translate(_RAISED)}" if value > 0 else ""
