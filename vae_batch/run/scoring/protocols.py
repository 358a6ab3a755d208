"""Scores of a row under a named protocol: the numbers that another tool would print."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from vae_batch.metrics.catalogue import METRICS
from vae_batch.metrics.samples.frechet import FrechetReference
from vae_batch.metrics.samples.moments import Moments
from vae_batch.metrics.samples.protocols import PROTOCOLS, GaussianPair, TooFewError
from vae_batch.plan import Unit
from vae_batch.run.scoring.samples import reference_factor, reference_features
from vae_batch.run.scoring.score_sheet import Scores, ScoreSheet, UndefinedScoreError
from vae_batch.run.scoring.stored import RowParts, read_reduction
from vae_batch.storage import Reason, Score, Store


def undefined_of_tool(tool: str, undefined: Mapping[str, Reason]) -> dict[str, Reason]:
    """Metrics that a row of a tool cannot have: what it never prints, and some of what it does.

    Args:
        tool: Of ``PROTOCOLS``.
        undefined: Reasons by column, whatever the tool.
    """
    protocol = PROTOCOLS[tool]
    never = Reason("not_in_protocol", f"{protocol.title} does not print it")
    found = dict.fromkeys((column for column in METRICS if column not in protocol.columns), never)
    return found | {c: why for c, why in undefined.items() if c in protocol.columns}


def add_protocol_scores(sheet: ScoreSheet, parts: RowParts, tool: str) -> None:
    """What a tool prints, without errors, intervals and influences."""
    protocol, units = PROTOCOLS[tool], parts.units
    if not {"generated", "reference"} <= set(units):
        return
    generated = parts.columns("generated")
    features, probabilities = generated["features"], generated["probabilities"]
    if not features.shape[1]:
        return
    sheet.feature_dim = features.shape[1]
    store, unit = parts.stores.reference, units["reference"]
    real = None if parts.reference_kind == "statistics" else reference_features(store, unit)

    def add(compute: Callable[[], Sequence[float]], *columns: str) -> None:
        wanted = [column for column in columns if sheet.wants(column)]
        sheet.add(lambda: _scores(columns, compute), *wanted)

    def distance() -> list[float]:
        fake = features[: protocol.kept(len(features))]
        reals = None if real is None else real[: protocol.kept(len(real))]
        if len(fake) == len(features) and (reals is None or len(reals) == unit.samples):
            pair = _pair(parts.stores.out, units["generated"], store, unit)
        else:
            reference = reference_factor(store, unit)
            if reals is not None:
                reference = FrechetReference.from_activations(reals)
            pair = GaussianPair.of(Moments.from_activations(fake), reference)
        return [protocol.frechet_distance(fake, reals, pair)]

    add(distance, "fid")
    if protocol.inception_score is not None:
        score = protocol.inception_score
        add(lambda: score(probabilities), "inception_score", "inception_score_std")
    if real is None:
        return
    if protocol.kernel is not None:
        kernel = protocol.kernel
        add(lambda: kernel(features, real), "kid_subsets", "kid_subsets_std")
    if protocol.neighbours is not None:
        neighbours = protocol.neighbours
        add(lambda: neighbours(features, real), "precision", "recall", "density", "coverage")


@functools.lru_cache(maxsize=3)
def _pair(out: Store, generated: Unit, store: Store, reference: Unit) -> GaussianPair:
    """Several tools share it."""
    moments = read_reduction(out, generated).moments
    if moments is None:
        raise ValueError(f"unit {generated.path} has no activations")
    return GaussianPair.of(moments, reference_factor(store, reference))


def _scores(columns: Sequence[str], compute: Callable[[], Sequence[float]]) -> Scores:
    try:
        values = compute()
    except TooFewError as error:
        raise UndefinedScoreError("too_few_images", str(error)) from error
    return {column: Score(value) for column, value in zip(columns, values, strict=True)}
