"""A reference of features or statistics that another program computed, in the reference store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from vae_batch.models.extractors.extractor import NO_EXTRACTOR, ExtractorIdentity, require_made_by
from vae_batch.models.inputs.files import LocalCopy
from vae_batch.models.references.precomputed import (
    Features,
    Origin,
    Statistics,
    content_of,
    open_features,
    open_statistics,
)
from vae_batch.models.references.reference import NAMED_SETS, SPLITS
from vae_batch.models.references.subset import subset_in_words, subset_positions
from vae_batch.plan import EvaluationSpec, InputError, Shard, Unit
from vae_batch.plan.location import Location
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.storage import (
    REDUCTION,
    Store,
    encode_columns,
    encode_reduction,
    finished_shards,
    is_reduced,
    write_with_receipt,
)
from vae_batch.storage.score_rows import ReferenceKind

#: Name of the extractor in rows whose features were all computed by other programs.
PRECOMPUTED = "precomputed"


def reference_kind(spec: EvaluationSpec) -> ReferenceKind:
    """What a spec's reference holds, by content; a damaged file counts as images.

    Raises:
        InputError: An object store is down.
    """
    copy = _file(spec.reference)
    return "images" if copy is None else _kind(copy)


def _kind(copy: LocalCopy) -> ReferenceKind:
    try:
        found = content_of(copy.path)
    except (OSError, ValueError):  # opening it says why
        return "images"
    return "images" if found is None else found[0]


def _file(source: str) -> LocalCopy | None:
    """A local copy of a file that may hold features or statistics."""
    path = Location.parse(source).path.lower()
    if source in NAMED_SETS or not path.endswith((".npz", ".npy")):
        return None
    try:
        return LocalCopy(source)
    except OSError:
        return None


def with_kind_of_reference(spec: EvaluationSpec) -> EvaluationSpec:
    """The spec whose reference is the population itself where only its moments are known.

    Bias can then be corrected for the generated images alone.
    """
    if spec.reference_is == "population" or reference_kind(spec) != "statistics":
        return spec
    return spec.model_copy(update={"reference_is": "population"})


def describe_precomputed(spec: EvaluationSpec) -> ReferenceFacts | None:
    """Read and hash features or statistics; None where the reference holds images.

    Raises:
        InputError: They cannot be used, or nobody says how they were made.
    """
    kind = reference_kind(spec)
    if kind == "images":
        return None
    name = Location.parse(spec.reference).label
    if spec.training in SPLITS:
        raise InputError(
            f"training = {spec.training}: reference {name} holds {kind}, which have no splits; "
            "name a set of images"
        )
    found = open_precomputed(spec)
    origin, declared = found.origin, spec.reference_protocol
    if declared is None and origin.protocol is None and kind == "statistics":
        raise InputError(
            f"reference {name} holds {kind} and does not say how they were made; declare it in "
            "words with --reference-protocol, such as 'pytorch-fid 0.3.0, FID Inception'"
        )
    if declared and origin.protocol and declared != origin.protocol:
        raise InputError(
            f"reference {name}: --reference-protocol {declared!r} was declared, but the file says "
            f"{origin.protocol!r}; leave it out"
        )
    protocol = declared or origin.protocol
    if isinstance(found, Statistics):
        count, held, whole = found.count or 0, found.sha256, found.count or 0
        dimension, notes = found.moments.dimension, (*found.notes, _one_sided(name))
    else:
        count, whole = len(_positions(spec, found)), len(found)
        held, dimension = _sha256(spec, found), found.values.shape[1]
        notes = () if protocol else (_undeclared(name),)
    return ReferenceFacts(
        name=name,
        split="all",
        sha256=hashlib.sha256(f"{held}:{protocol}".encode()).hexdigest(),
        count=count,
        shape=None,
        label_counts=(),
        labels_sha256=None,
        shard_size=spec.shard_size,
        notes=notes,
        subset=subset_in_words(spec.reference_subset, count, whole),
        kind=kind,
        dimension=dimension,
        protocol=protocol,
        weights_sha256=origin.weights_sha256,
    )


def _undeclared(name: str) -> str:
    return f"{name}: how its features were made is not known; declare it with --reference-protocol"


def _one_sided(name: str) -> str:
    return (
        f"{name}: of the reference only mean and covariance are known, so that bias is corrected "
        "for the generated images alone (reference_is = population)"
    )


def open_precomputed(spec: EvaluationSpec) -> Features | Statistics:
    """The features or statistics of a spec's reference.

    Raises:
        InputError: They cannot be read.
    """
    copy, name = LocalCopy(spec.reference), Location.parse(spec.reference).label
    try:
        if _kind(copy) == "statistics":
            return open_statistics(copy.path, spec.reference_samples)
        return open_features(copy.path)
    except InputError as error:
        raise InputError(str(error).replace(str(copy.path), name)) from None


def _positions(spec: EvaluationSpec, features: Features) -> np.ndarray:
    count, limit = len(features), spec.reference_samples
    if limit is not None and limit > count:
        raise InputError(
            f"{spec.reference}: {limit} reference images were asked for, but it has features of "
            f"{count}; ask for 2 to {count}"
        )
    return subset_positions(spec.reference_subset, limit or count, count)


def _sha256(spec: EvaluationSpec, features: Features) -> str:
    positions, step = _positions(spec, features), spec.shard_size
    digest = hashlib.sha256(repr((len(positions), features.values.shape[1])).encode())
    for start in range(0, len(positions), step):
        for rows in features.rows(positions[start : start + step]):
            digest.update(rows.tobytes())
    return digest.hexdigest()


def precomputed_extractor(facts: ReferenceFacts) -> ExtractorIdentity:
    """Stands for an extractor where all features were computed by other programs."""
    return replace(
        NO_EXTRACTOR,
        name=PRECOMPUTED,
        weights_sha256=facts.weights_sha256 or "",
        protocol=facts.protocol or "not declared",
        feature_dim=facts.dimension or 0,
    )


def require_extractor_of(facts: ReferenceFacts, extractor: ExtractorIdentity) -> None:
    """Refuse an extractor other than that of a reference's features or statistics.

    Raises:
        InputError: Names what differs.
    """
    if facts.dimension is not None:
        # A protocol that was declared in words is not compared.
        origin = Origin(None, facts.weights_sha256)
        require_made_by(f"reference {facts.name}", facts.dimension, origin, extractor)


def store_precomputed(
    spec: EvaluationSpec, store: Store, facts: ReferenceFacts, units: Iterable[Unit]
) -> None:
    """Write what is missing of a reference's activations, or of the reduction of statistics.

    Raises:
        InputError: The file cannot be read any more.
    """
    every = {unit.path: unit for unit in units if unit.path.startswith(f"{facts.folder}/")}
    missing = {path: _missing(store, unit, facts.kind) for path, unit in every.items()}
    if not any(missing.values()):
        return
    found = open_precomputed(spec)
    for path, unit in every.items():
        if isinstance(found, Statistics):
            if missing[path]:
                content = encode_reduction(found.moments, [])
                write_with_receipt(store, unit, REDUCTION, content, rows=0, source="cache")
            continue
        positions = _positions(spec, found)
        for shard in missing[path]:
            features, probabilities = found.rows(positions[shard.start : shard.stop])
            columns: dict[str, np.ndarray] = {
                "index": np.arange(shard.start, shard.stop),
                "features": features,
                "probabilities": probabilities,
            }
            content = encode_columns(columns, {"images": unit.kind})
            write_with_receipt(store, unit, shard.name, content, rows=len(shard), source="cache")


def _missing(store: Store, unit: Unit, kind: ReferenceKind) -> list[Shard]:
    """Shards to be written; of statistics one that stands for the reduction."""
    if kind == "statistics":
        return [] if is_reduced(store, unit) else [Shard(unit.path, 0, 0)]
    done = set(finished_shards(store, unit))
    return [shard for shard in unit.shards() if shard not in done]
