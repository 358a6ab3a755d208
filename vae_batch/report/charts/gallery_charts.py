"""Charts of stored arrays: KL of latent dimensions, aggregate posterior, power spectrum."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import numpy as np

from vae_batch.report.charts.chart import (
    Axis,
    Bars,
    Chart,
    Floats,
    Hover,
    Key,
    Layer,
    Line,
    Look,
    Points,
    floats,
    round_ticks,
    value_axis,
)
from vae_batch.report.gallery import Gallery
from vae_batch.report.image_grids import COLLAPSED_KL
from vae_batch.report.labels import elide, printable, significant

_MOST_BARS, _MOST_NAMED = 64, 18
_FREQUENCY_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_REACH = 1e10
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
#: Cividis is safe for colour-blind readers; its pale end is not visible on white.
_PALEST, _DARKEST = 0.82, 0.0

KL_UNIT = "nats/image"
SPECTRUM_UNITS = {"frequency": "cycles/pixel", "power": "squared 8-bit levels"}


def collapsed_dimensions(gallery: Gallery) -> np.ndarray:
    """(d,) whether each latent dimension is collapsed; by its mean KL where nothing else says."""
    collapsed = gallery.get("kl_collapsed", np.asarray(gallery["kl_per_dimension"]) < COLLAPSED_KL)
    return np.asarray(collapsed, dtype=bool).reshape(-1)


def kl_chart(gallery: Gallery) -> Chart | None:
    """A bar for each latent dimension, largest first; of many the first 64."""
    if "kl_per_dimension" not in gallery:
        return None
    kl = floats(gallery["kl_per_dimension"]).reshape(-1)
    order = np.argsort(-kl, kind="stable")[:_MOST_BARS]
    collapsed = collapsed_dimensions(gallery)
    places = np.arange(len(order), dtype=np.float64)
    unused = collapsed[order]
    tops = np.maximum(kl[order], 0.0)
    high = 1.06 * max(float(tops.max(initial=0.0)), COLLAPSED_KL)
    layers: list[Layer] = []
    for members, colour in ((~unused, 0), (unused, "faint")):
        if members.any():
            x = places[members]
            if colour == "faint":
                full = np.full(len(x), high)
                layers.append(Bars(x - 0.5, x + 0.5, full, colour, pale=True))
            layers.append(Bars(x - 0.38, x + 0.38, tops[members], colour))
    few = len(order) <= _MOST_NAMED
    ticks = tuple((float(p), str(d)) for p, d in enumerate(order)) if few else ()
    width = max(len(order), 6)
    used = f"{int((~collapsed).sum())} of {len(kl)} dimensions in use"
    shown = f"; the {len(order)} largest are shown" if len(order) < len(kl) else ""
    title = "latent dimension, by decreasing KL"
    return Chart(
        title="KL of each latent dimension",
        subtitle=f"{used}, {significant(float(kl.sum()))} nats in all{shown}",
        x=Axis(title if few else f"rank of the {title}", -0.7, width - 0.3,
               ticks or round_ticks(0, len(order) - 1, 6, whole=True)),
        y=Axis(f"KL ({KL_UNIT})", 0.0, high, round_ticks(0.0, high, 4)),
        layers=tuple(layers),
        alt=f"KL of {len(kl)} latent dimensions, {kl.max():.3g} to {kl.min():.3g} nats; {used}",
        keys=(Key("collapsed", "pale", Look("faint")),) if unused.any() else (),
        hovers=tuple(
            Hover(place - 0.5, place + 0.5, _bar_said(int(d), float(kl[d]), bool(collapsed[d])))
            for place, d in enumerate(order)
        ),
    )  # fmt: skip


def _bar_said(dimension: int, kl: float, collapsed: bool) -> str:
    return f"z[{dimension}]: {significant(kl)} nats" + (", collapsed" if collapsed else "")


def kl_lines_chart(sorted_kl: Mapping[str, Floats]) -> Chart:
    """Sorted KL of the latent dimensions of several checkpoints, by their names."""
    longest = max(len(kl) for kl in sorted_kl.values())
    high = 1.06 * max(float(np.max(kl, initial=0.0)) for kl in sorted_kl.values()) or 1.0
    layers: list[Layer] = []
    for (_, kl), look in zip(sorted_kl.items(), _sequence(len(sorted_kl)), strict=True):
        ranks = np.arange(1, len(kl) + 1, dtype=np.float64)
        layers += [Line(ranks, kl, look), Points(ranks, kl, look, longest > _MOST_NAMED)]
    return Chart(
        title="KL of latent dimensions, sorted",
        subtitle="",
        x=Axis("rank of the dimension", 0.5, longest + 0.5,
               round_ticks(1, max(longest, 2), 6, whole=True)),
        y=Axis(f"KL ({KL_UNIT})", 0.0, high, round_ticks(0.0, high)),
        layers=tuple(layers),
        alt=f"Sorted KL of the latent dimensions of {len(sorted_kl)} checkpoints",
        keys=_sequence_keys([*sorted_kl]),
    )  # fmt: skip


def aggregate_charts(gallery: Gallery) -> tuple[Chart, ...]:
    """For each of up to 8 dimensions a histogram of posterior draws under the prior's density."""
    if "aggregate_density" not in gallery:
        return ()
    edges, densities = (floats(gallery[f"aggregate_{part}"]) for part in ("edges", "density"))
    places = np.linspace(edges[0], edges[-1], 97)
    prior = np.exp(-0.5 * places**2) / math.sqrt(2 * math.pi)
    high = 1.05 * max(float(np.nanmax(densities)), float(prior.max()))
    ticks = tuple((float(v), significant(v)) for v in (-2, 0, 2) if edges[0] <= v <= edges[-1])
    return tuple(
        _aggregate_chart(f"z[{dimension}]", _moments(gallery, int(dimension)), layers, ticks, high)
        for dimension, density in zip(gallery["aggregate_dimensions"], densities, strict=True)
        for layers in [(Bars(edges[:-1], edges[1:], density, 0),
                        Line(places, prior, Look("text", 1), "thin"))]
    )  # fmt: skip


def _aggregate_chart(
    name: str,
    moments: str,
    layers: tuple[Bars, Line],
    ticks: tuple[tuple[float, str], ...],
    high: float,
) -> Chart:
    bars, _ = layers
    low, end = float(bars.left[0]), float(bars.right[-1])
    return Chart(
        title=name,
        subtitle=moments,
        x=Axis("", low, end, ticks),
        y=Axis("", 0.0, high),
        layers=layers,
        alt=f"Aggregate posterior of {name} against the prior",
        keys=(
            Key("posterior draws", "bar", Look(0)),
            Key("prior N(0, 1)", "line", Look("text", 1)),
        ),
        hovers=(Hover(low, end, f"{name}: {moments}" if moments else name),),
    )


def _moments(gallery: Gallery, dimension: int) -> str:
    if "aggregate_mean" not in gallery or "aggregate_std" not in gallery:
        return ""
    mean, std = (
        significant(float(np.ravel(gallery[f"aggregate_{part}"])[dimension]), 2)
        for part in ("mean", "std")
    )
    return f"mean {mean}, std {std}"


def spectrum_chart(spectra: Mapping[str, Gallery]) -> Chart | None:
    """Power of generated and real images by spatial frequency, both axes logarithmic.

    Args:
        spectra: Galleries with spectra of the same frequencies, by the name of their line; the
            real images' spectrum is that of the first.
    """
    first = next(iter(spectra.values()))
    if any(f"spectrum_{part}" not in first for part in ("frequencies", "power", "power_reference")):
        return None
    real = drawable(first["spectrum_power_reference"])
    scale = float(np.nanmax(real)) if np.isfinite(real).any() else 1e-3
    powers = {name: drawable(g["spectrum_power"], scale) for name, g in spectra.items()}
    frequencies = drawable(first["spectrum_frequencies"])
    drawn = np.concatenate([real, *powers.values()])
    if not np.isfinite(drawn).any() or not np.isfinite(frequencies).any():
        return None
    x = value_axis(f"spatial frequency ({SPECTRUM_UNITS['frequency']})", frequencies, 0.03,
                   logarithmic=True)  # fmt: skip
    y = value_axis(f"power ({SPECTRUM_UNITS['power']})", drawn, logarithmic=True)
    real_look = Look("text", 1)
    layers: list[Layer] = [Line(frequencies, real, real_look)]
    looks = [Look(0)] if len(powers) == 1 else _sequence(len(powers))
    layers += [Line(frequencies, p, look) for p, look in zip(powers.values(), looks, strict=True)]
    names = [printable(elide(name, 24)) for name in powers]
    keys = [Key(name, "line", look) for name, look in zip(names, looks, strict=True)]
    return Chart(
        title="Power spectrum",
        subtitle="",
        x=Axis(x.title, x.low, x.high, tuple((f, f"{f:g}") for f in _FREQUENCY_TICKS
                                             if x.low <= f <= x.high), logarithmic=True),
        y=Axis(y.title, y.low, y.high, tuple(_powers_of_ten(y.low, y.high)), logarithmic=True),
        layers=tuple(layers),
        alt=_spectrum_said(powers, real),
        keys=(Key("real", "line", real_look), *keys),
        hovers=tuple(_spectrum_hovers(frequencies, real, dict(zip(names, powers.values(),
                                                                  strict=True)), x)),
    )  # fmt: skip


def drawable(values: np.ndarray, scale: float = 1.0) -> Floats:
    """Values as a logarithmic axis can have them: NaN where they are no power of interest.

    That is zero, what is not finite, and what is 10 orders of magnitude away from ``scale``, such
    as the rounding errors in the spectrum of a constant image.
    """
    array = floats(values)
    kept = np.isfinite(array) & (array > scale / _REACH) & (array < scale * _REACH)
    return np.where(kept, array, np.nan)


def _powers_of_ten(low: float, high: float) -> Iterator[tuple[float, str]]:
    exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    for exponent in exponents[:: -(-len(exponents) // 6) or 1]:
        yield 10.0**exponent, f"10{str(exponent).translate(_RAISED)}"


def _spectrum_said(powers: Mapping[str, Floats], real: Floats) -> str:
    share = next(iter(powers.values()))[-1] / real[-1]
    said = "Power of generated and real images by spatial frequency"
    if len(powers) > 1 or not math.isfinite(share):
        return said
    return f"{said}; at the highest, generated images have {share:.2g} of the power of real ones"


def _spectrum_hovers(
    frequencies: Floats, real: Floats, powers: Mapping[str, Floats], x: Axis
) -> Iterator[Hover]:
    known = np.flatnonzero(np.isfinite(frequencies))
    inner = np.sqrt(frequencies[known][:-1] * frequencies[known][1:])
    edges = [x.low, *inner.tolist(), x.high]
    for place, index in enumerate(known):
        said = [f"{significant(float(frequencies[index]), 3)} {SPECTRUM_UNITS['frequency']}"]
        each = {**powers, "real": real}.items()
        said += [f"{n} {p[index]:.3g}" for n, p in each if np.isfinite(p[index])]
        yield Hover(edges[place], edges[place + 1], "\n".join(said))


def _sequence(count: int) -> list[Look]:
    """Looks of checkpoints in order: later ones are darker, and markers differ."""
    places = np.linspace(_PALEST, _DARKEST, count)
    colours = matplotlib.colormaps["cividis"](places)
    hexes = ["#" + "".join(f"{round(255 * part):02x}" for part in c[:3]) for c in colours]
    return [Look(colour, 0, index % 4) for index, colour in enumerate(hexes)]


def _sequence_keys(names: Sequence[str]) -> tuple[Key, ...]:
    looks = _sequence(len(names))
    return tuple(
        Key(printable(elide(name, 24)), "line", look)
        for name, look in zip(names, looks, strict=True)
    )
