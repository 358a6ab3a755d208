"""What an encoder's second head holds: log-variance, log deviation or standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
from scipy.special import gammainccinv

from vae_batch.models.autoencoder.description import Decision
from vae_batch.models.autoencoder.heads import (
    ALL_KINDS,
    WORDS,
    Kind,
    read_head_name,
)
from vae_batch.models.formats.format import Floats
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import SecondHead

Doubles = npt.NDArray[np.float64]

#: Draws of z for one input.
DRAWS = 256
#: Probability that the true kind is rejected.
_FALSE_ALARM = 1e-8
#: Margin for the rounding of half precision, and for the skewness of a log-variance.
_MARGIN = 1.1
#: Dimensions in which the kinds differ by less are ignored.
_SEPARATED = 0.25
#: Standard deviations below a hundredth of the mean count as a hundredth: half precision rounds z
#: to 2^-9 of its size.
_ROUNDING = 0.01


@dataclass(frozen=True)
class HeadValues:
    """Both heads on n probe inputs, and draws of z for one of them.

    Attributes:
        mean: (n, *latent_shape).
        second: (n, *latent_shape).
        draws: (DRAWS, *latent_shape) samples for input ``drawn_row``; None where z is not random.
        drawn_row: See ``draws``.
    """

    mean: Floats
    second: Floats
    draws: Floats | None = None
    drawn_row: int = 0


def row_to_draw(second: Floats) -> int:
    """The input on which the kinds of a second head differ most, extremes clipped.

    Log-variance and log standard deviation meet at 0, standard deviation and variance at 1.
    """
    apart = np.abs(np.log(second) if (second > 0).all() else second)
    return int(np.argmax(np.minimum(apart, 4.0).reshape(len(second), -1).mean(axis=1)))


def kinds_of_draws(values: HeadValues) -> frozenset[Kind] | None:
    """Kinds under which the draws have the variance that the second head states.

    Returns:
        None without draws; empty where no kind fits; more than one where the head's values make
        them too similar.
    """
    if values.draws is None:
        return None
    mean = values.mean[values.drawn_row].reshape(-1).astype(np.float64)
    second = values.second[values.drawn_row].reshape(-1).astype(np.float64)
    floor = 2.0 * np.log(np.maximum(_ROUNDING * np.abs(mean), 1e-6))
    expected = {kind: np.clip(v, floor, 40.0) for kind, v in _log_variances(second).items()}
    variance = values.draws.reshape(len(values.draws), -1).astype(np.float64).var(axis=0, ddof=1)
    found = np.clip(np.log(np.maximum(variance, np.finfo(np.float64).tiny)), floor, 40.0)
    spread = np.ptp(list(expected.values()), axis=0)
    separated = spread >= _SEPARATED if (spread >= _SEPARATED).any() else np.ones_like(spread, bool)
    tolerance = _tolerance(int(separated.sum()))
    misfit = {kind: _rms((found - log_v)[separated]) for kind, log_v in expected.items()}
    best = min(misfit, key=lambda kind: misfit[kind])
    if misfit[best] >= tolerance:
        return frozenset()
    # Kinds that are twice the tolerance apart cannot both fit; closer ones stay possible.
    return frozenset(
        kind
        for kind in expected
        if _rms((expected[kind] - expected[best])[separated]) < 2 * tolerance
    )


def decide_kind(
    name: str, values: HeadValues, declared: SecondHead | None, why_no_draws: str
) -> tuple[SecondHead, Decision, list[str]]:
    """What the second head of a name holds, how that was decided, and warnings.

    A declaration takes precedence. ``why_no_draws`` is said where ``values`` holds no draws.
    """
    negative = bool((values.second < 0).any())
    drawn = kinds_of_draws(values)
    if declared is not None:
        return _declared(declared, negative, drawn)
    read = read_head_name(name)
    named = read.kinds if read.role == "second" else ALL_KINDS
    possible = named - {"std", "variance"} if negative else named
    warnings = []
    if drawn:
        possible &= drawn
    elif drawn is not None:
        if len(named) > 1:
            raise CheckpointError(_unfitting(name) + _ASK, _choices(possible))
        warnings.append(_unfitting(name))
    if not possible:
        allowed = (drawn or ALL_KINDS) - ({"std"} if negative else set())
        raise CheckpointError(_contradiction(name, named, negative, drawn), _choices(allowed))
    kind, how = _choose(name, named, possible, values)
    agrees = "; 256 draws of z agree" if drawn == frozenset({kind}) else ""
    seen = "; it has negative values" if negative and kind != "std" else ""
    why = f"; {why_no_draws}" if values.draws is None else ""
    return kind, Decision("second head", WORDS[kind], how + seen + agrees + why), warnings


_ASK = "; declare --second-head logvar, log_std or std, whichever the training code used"


def _log_variances(second: Doubles) -> dict[Kind, Doubles]:
    """Logarithm of Var(z) under each kind that these values allow."""
    readings: dict[Kind, Doubles] = {"logvar": second, "log_std": 2.0 * second}
    if (second > 0).all():
        readings |= {"std": 2.0 * np.log(second), "variance": np.log(second)}
    return readings


def _tolerance(dimensions: int) -> float:
    """Upper bound of the root mean square of log Var(z) - log v under the true kind.

    The logarithm of a variance over n draws has variance 2 / (n - 1), so the sum of squares over
    independent dimensions is that times a chi-squared variable: 0.56 for one dimension, 0.25 for
    eight. More dimensions do not lower it, since a model's noise need not be independent.
    """
    counted = min(dimensions, 8)
    quantile = 2 * gammainccinv(counted / 2, _FALSE_ALARM)
    return _MARGIN * float(np.sqrt(quantile / counted * 2 / (DRAWS - 1)))


def _rms(values: Doubles) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _declared(
    declared: SecondHead, negative: bool, drawn: frozenset[Kind] | None
) -> tuple[SecondHead, Decision, list[str]]:
    if declared == "std" and negative:
        raise CheckpointError(
            "--second-head std is declared, but the encoder's second head has negative values, "
            "which no standard deviation has; declare --second-head logvar or log_std",
            {"second_head": ("logvar", "log_std")},
        )
    warnings = []
    if drawn is not None and declared not in drawn:
        found = f"that of a {_words(drawn)}" if drawn else "none of those it may mean"
        warnings.append(
            f"--second-head {declared} is declared, but the variance of 256 draws of z is {found}"
        )
    return declared, Decision("second head", WORDS[declared], "declared by --second-head"), warnings


def _choose(
    name: str, named: frozenset[Kind], possible: frozenset[Kind], values: HeadValues
) -> tuple[SecondHead, str]:
    """One of the possible kinds, or a refusal that asks for a declaration."""
    positive = bool((values.second > 0).all())
    how = f"output {name!r}" if named != ALL_KINDS else f"output {name!r}, an uninformative name"
    if len(possible) == 1:
        (only,) = possible
        if only == "variance":
            raise CheckpointError(
                f"the encoder's second head ({how}) is a variance; save an encoder whose second "
                "output is its logarithm"
            )
        return only, how
    if named == ALL_KINDS and "logvar" in possible and not positive:
        return "logvar", f"{how}: log-variance by convention"
    if "sigma" in name.lower() and "std" in possible and positive:
        return "std", f"{how}, and never negative"
    raise CheckpointError(
        f"the encoder's second head ({how}) may be a {_words(possible)}: neither its name nor its "
        f"values decide{_ASK}",
        _choices(possible),
    )


def _choices(possible: frozenset[Kind]) -> dict[str, object]:
    """The spec key that would decide it; a variance cannot be declared."""
    kinds = tuple(kind for kind in get_args(SecondHead) if kind in possible)
    return {"second_head": kinds if len(kinds) > 1 else kinds[0]} if kinds else {}


def _words(kinds: frozenset[Kind]) -> str:
    return " or ".join(words for kind, words in WORDS.items() if kind in kinds)


def _unfitting(name: str) -> str:
    return (
        f"the variance of 256 draws of z is none of those that the encoder's second head (output "
        f"{name!r}) may mean: its sampling may be tempered, or pass the head through an activation"
    )


def _contradiction(
    name: str, named: frozenset[Kind], negative: bool, drawn: frozenset[Kind] | None
) -> str:
    found = "it has negative values" if negative and not drawn else ""
    if drawn:
        found = f"256 draws of z have the variance of a {_words(drawn)}"
    return (
        f"the encoder's second head is named {name!r}, which says {_words(named)}, but {found}"
        f"{_ASK}"
    )
