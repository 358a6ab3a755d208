"""Charts of one checkpoint: what its latent dimensions carry, and its images' spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vae_batch.report.gallery import Gallery
from vae_batch.report.image_grids import COLLAPSED_KL
from vae_batch.report.labels import significant
from vae_batch.report.page.charts import Chart, Scale, line_path, px, spanning

_WIDTH = 520
_LEFT, _RIGHT, _TOP = 52, 508, 20
_MOST_BARS = 64
_COLUMNS = 4
_CELL, _CELL_HEIGHT, _CELL_GAP = 112, 74, 18


def kl_chart(gallery: Gallery) -> Chart | None:
    """A bar for each latent dimension, largest first; of many the first 64."""
    if "kl_per_dimension" not in gallery:
        return None
    kl = np.asarray(gallery["kl_per_dimension"], dtype=np.float64).reshape(-1)
    collapsed = np.asarray(gallery.get("kl_collapsed", kl < COLLAPSED_KL)).reshape(-1)
    order = np.argsort(-kl, kind="stable")[:_MOST_BARS]
    bottom = 150
    y = Scale(0.0, max(float(kl.max()) * 1.05, COLLAPSED_KL), bottom, _TOP)
    used = int((~collapsed).sum())
    alt = f"KL of {len(kl)} latent dimensions, from {kl.max():.3g} to {kl.min():.3g} nats"
    chart = Chart(_WIDTH, 190, f"{alt}; {len(kl) - used} collapsed")
    chart.values(y, _LEFT, _RIGHT, 4)
    chart.say(_LEFT, _TOP - 7, "nats", "tick")
    chart.base(_LEFT, _RIGHT, bottom)
    chart.say(_LEFT, bottom + 18, _bars_said(kl, used, len(order)), "tick")
    width = min(40.0, (_RIGHT - _LEFT) / len(order))
    for place, dimension in enumerate(order):
        left = _LEFT + place * width
        top = min(y(float(kl[dimension])), bottom - 0.6)
        bar = f"M{px(left + 0.12 * width)} {bottom}V{px(top)}h{px(0.76 * width)}V{bottom}Z"
        chart.mark(bar, "bar collapsed" if collapsed[dimension] else "bar")
        said = f"z[{dimension}]: {significant(float(kl[dimension]))} nats"
        said += ", collapsed" if collapsed[dimension] else ""
        chart.hit(left, _TOP, width, bottom - _TOP, said)
    return chart


def _bars_said(kl: NDArray[np.float64], used: int, shown: int) -> str:
    text = f"{used} of {len(kl)} dimensions in use, {significant(float(kl.sum()))} nats in all"
    return text if shown == len(kl) else f"{text}; the {shown} largest are shown"


def aggregate_chart(gallery: Gallery) -> Chart | None:
    """A small histogram for each of up to 8 dimensions, with the prior's density over it."""
    if "aggregate_density" not in gallery:
        return None
    edges = np.asarray(gallery["aggregate_edges"], dtype=np.float64)
    densities = np.asarray(gallery["aggregate_density"], dtype=np.float64)
    dimensions = [int(d) for d in gallery["aggregate_dimensions"]]
    rows = -(-len(dimensions) // _COLUMNS)
    chart = Chart(
        _WIDTH,
        rows * (_CELL_HEIGHT + 2 * _CELL_GAP) + 4,
        f"Aggregate posterior against the prior in {len(dimensions)} dimensions",
    )
    highest = max(float(densities.max()), float(_normal(np.zeros(1))[0]))
    for index, (dimension, density) in enumerate(zip(dimensions, densities, strict=True)):
        row, column = divmod(index, _COLUMNS)
        left = column * (_CELL + 20) + 6
        bottom = row * (_CELL_HEIGHT + 2 * _CELL_GAP) + _CELL_GAP + _CELL_HEIGHT
        x = Scale(float(edges[0]), float(edges[-1]), left, left + _CELL)
        y = Scale(0.0, highest * 1.05, bottom, bottom - _CELL_HEIGHT)
        _small_histogram(chart, edges, density, x, y)
        said = f"z[{dimension}]{_moments(gallery, dimension)}"
        chart.say(left, bottom - _CELL_HEIGHT - 4, f"z[{dimension}]", "tick")
        chart.hit(left, bottom - _CELL_HEIGHT, _CELL, _CELL_HEIGHT, said)
    return chart


def _small_histogram(
    chart: Chart, edges: NDArray[np.float64], density: NDArray[np.float64], x: Scale, y: Scale
) -> None:
    steps = "".join(
        f"V{px(y(float(value)))}H{px(x(float(edge)))}"
        for value, edge in zip(density, edges[1:], strict=True)
    )
    chart.mark(f"M{px(x.start)} {px(y.start)}{steps}V{px(y.start)}Z", "histogram")
    places = np.linspace(x.low, x.high, 49)
    prior = [y(float(value)) for value in _normal(places)]
    chart.mark(line_path([x(float(place)) for place in places], prior), "prior")
    chart.base(x.start, x.stop, y.start)
    for value in (-2, 0, 2):
        chart.say(x(value), y.start + 13, significant(value), "tick middle")


def _normal(places: NDArray[np.float64]) -> NDArray[np.float64]:
    density: NDArray[np.float64] = np.exp(-0.5 * places**2) / np.sqrt(2 * np.pi)
    return density


def _moments(gallery: Gallery, dimension: int) -> str:
    if "aggregate_mean" not in gallery or "aggregate_std" not in gallery:
        return ""
    mean = float(np.ravel(gallery["aggregate_mean"])[dimension])
    deviation = float(np.ravel(gallery["aggregate_std"])[dimension])
    return f": mean {significant(mean, 3)}, standard deviation {significant(deviation, 3)}"


def spectrum_chart(gallery: Gallery) -> Chart | None:
    """Power against spatial frequency, both spectra on one logarithmic scale."""
    needed = ("spectrum_frequencies", "spectrum_power", "spectrum_power_reference")
    if not all(name in gallery for name in needed):
        return None
    frequencies, generated, real = (np.asarray(gallery[name], np.float64) for name in needed)
    with np.errstate(divide="ignore"):
        powers = [np.where(p > 0, np.log10(p), np.nan) for p in (generated, real)]
    if not any(np.isfinite(power).any() for power in powers):
        return None
    bottom = 160
    x = spanning(frequencies, _LEFT, _RIGHT, 0.03)
    y = spanning(np.concatenate(powers), bottom, _TOP)
    chart = Chart(_WIDTH, 200, _spectrum_said(generated, real))
    _decades(chart, y)
    chart.say(_LEFT, _TOP - 7, "power", "tick")
    chart.places(x, bottom)
    chart.base(_LEFT, _RIGHT, bottom, "cycles per pixel")
    places = [x(float(value)) for value in frequencies]
    for power, css in zip(reversed(powers), ("real", "generated"), strict=True):
        heights = [y(float(value)) for value in power]
        chart.mark(line_path(places, heights), f"line {css}")
    for place, (f, g, r) in enumerate(zip(frequencies, generated, real, strict=True)):
        half = (_RIGHT - _LEFT) / (2 * len(frequencies))
        said = f"{significant(f, 3)} cycles per pixel\ngenerated {g:.3g}\nreal {r:.3g}"
        chart.hit(places[place] - half, _TOP, 2 * half, bottom - _TOP, said)
    chart.say(_RIGHT, _TOP + 12, "generated", "tick end generated")
    chart.say(_RIGHT, _TOP + 26, "real", "tick end real")
    return chart


def _decades(chart: Chart, y: Scale) -> None:
    """Grid lines at whole powers of ten, or at round exponents where none is in reach."""
    whole = list(range(int(np.ceil(y.low)), int(np.floor(y.high)) + 1))
    stride = -(-len(whole) // 6) or 1
    for exponent in whole[::stride]:
        chart.mark(f"M{_LEFT} {px(y(exponent))}H{_RIGHT}", "gridline")
        chart.say(_LEFT - 6, y(exponent) + 4, f"1e{exponent}", "tick end")


def _spectrum_said(generated: NDArray[np.float64], real: NDArray[np.float64]) -> str:
    with np.errstate(divide="ignore", invalid="ignore"):
        share = generated[-1] / real[-1]
    return (
        "Power of generated and real images by spatial frequency; at the highest the generated "
        f"have {share:.2g} of the real ones' power"
    )
