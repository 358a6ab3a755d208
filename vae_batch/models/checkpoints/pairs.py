"""Which files are one VAE: pairs of encoder and decoder, by two patterns or by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from vae_batch.models.checkpoints.listing import FoundFile, find_files
from vae_batch.models.checkpoints.names import HalfName, Role, braced, read_half
from vae_batch.models.checkpoints.not_found import nothing_found
from vae_batch.models.checkpoints.patterns import compile_pattern
from vae_batch.models.sample_sets import Samples
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location


@dataclass(frozen=True)
class Candidate:
    """The files of one checkpoint.

    Attributes:
        label: Short name: of a pair, without the roles.
        files: Role to file, sorted by role.
        beside: Names of files that lie beside a complete pair and are not scored.
    """

    label: str
    files: tuple[tuple[Role, FoundFile], ...]
    beside: tuple[str, ...] = ()

    @property
    def full_label(self) -> str:
        """A name that holds every file's; used where two checkpoints have one short label."""
        return braced([file.label for _, file in reversed(self.files)])

    @property
    def samples(self) -> Samples | None:
        """What a set of generated images holds, or None."""
        role, file = self.files[0]
        return file.samples if role == "samples" else None

    @property
    def step(self) -> int | None:
        """The training step that a pattern captured, or None."""
        return next((f.match.step for _, f in self.files if f.match.step is not None), None)


def halves_by_pattern(encoder: str | None, decoder: str | None) -> list[Candidate]:
    """Pair files by patterns such as ``runs/*/enc-{step}.keras`` and ``runs/*/dec-{step}.keras``.

    Two halves whose wildcards stand for the same text are one VAE. One of the patterns may be
    None; a half without a partner is a checkpoint of its own.

    Raises:
        InputError: The patterns have different wildcards, one matches nothing, or one matches two
            files with the same wildcards.
    """
    if encoder is not None and decoder is not None:
        _require_equal_wildcards(encoder, decoder)
    patterns: tuple[tuple[Role, str | None], ...] = (("encoder", encoder), ("decoder", decoder))
    vaes: dict[tuple[tuple[str, ...], int], list[tuple[Role, FoundFile]]] = defaultdict(list)
    for role, pattern in patterns:
        if pattern is not None:
            for key, file in _by_wildcards(role, pattern).items():
                vaes[key].append((role, file))
    for members in vaes.values():
        if len(members) == 2 and members[0][1].path == members[1][1].path:
            raise InputError(
                f"encoder and decoder patterns both match {members[0][1].label}; name a file that "
                "holds both halves in checkpoints, without these patterns"
            )
    return [_joined(members) for _, members in sorted(vaes.items())]


def _require_equal_wildcards(encoder: str, decoder: str) -> None:
    one, other = (compile_pattern(Location.parse(p).path) for p in (encoder, decoder))
    if one.wildcards != other.wildcards or one.has_step != other.has_step:
        raise InputError(
            f"encoder = {encoder!r} has {one.described} but decoder = {decoder!r} has "
            f"{other.described}; halves are paired by what the wildcards stand for, so write the "
            "same ones in the same order in both patterns"
        )


def _by_wildcards(role: Role, pattern: str) -> dict[tuple[tuple[str, ...], int], FoundFile]:
    """A pattern's files by what its wildcards stand for in each; {step} compares as a number."""
    found = find_files(pattern)
    if not found:
        raise InputError(nothing_found(pattern, role))
    files: dict[tuple[tuple[str, ...], int], FoundFile] = {}
    for file in found:
        key = file.match.captures, -1 if file.match.step is None else file.match.step
        other = files.setdefault(key, file)
        if other is not file:
            raise InputError(
                f"{role} = {pattern!r} matches {other.label} and {file.label} with the same "
                "wildcards, so it is not clear which of them belongs to a checkpoint; write * or "
                "{step} where their names differ"
            )
    return files


def group_by_name(files: Sequence[FoundFile]) -> list[Candidate]:
    """Group files into pairs, lone halves and whole models, by their names.

    Halves pair within one folder (SavedModel folders as siblings): first those whose names differ
    in the role alone, then a single encoder and a single decoder with otherwise equal names, such
    as ``encoder.keras`` and ``decoder.h5``.
    """
    candidates: list[Candidate] = []
    unpaired: list[tuple[HalfName, FoundFile]] = []
    for file in files:
        half = _half(file)
        if half is None:
            candidates.append(_whole(file))
        else:
            unpaired.append((half, file))
    keys: tuple[Callable[[HalfName], object], ...] = (lambda h: h.partner_key, lambda h: h.label)
    for key in keys:
        groups: dict[object, list[tuple[HalfName, FoundFile]]] = defaultdict(list)
        for half, file in unpaired:
            groups[key(half)].append((half, file))
        unpaired = []
        for members in groups.values():
            if sorted(half.role for half, _ in members) == ["decoder", "encoder"]:
                candidates.append(_joined((half.role, file) for half, file in members))
            else:
                unpaired += members
    candidates += [
        _joined([(half.role, file)]) if half.certain else _whole(file) for half, file in unpaired
    ]
    return candidates


def without_strays(candidates: Sequence[Candidate], named: AbstractSet[str]) -> list[Candidate]:
    """The candidates without what lies beside a complete pair; the pair keeps its names.

    Beside a pair lie halves that would have the pair's label, and weights without a model that
    would share its folder's: training has saved them too, and the pair is complete without them.

    Args:
        candidates: Of all files.
        named: Labels of files that the user has named in full; those are scored.
    """
    pairs = {
        candidate.label: candidate
        for candidate in reversed(candidates)
        if len(candidate.files) == 2 and not _holds_weights_alone(candidate)
    }
    beside: dict[str, list[str]] = defaultdict(list)
    kept = []
    for candidate in candidates:
        labels = [file.label for _, file in candidate.files]
        folder = labels[0].rpartition("/")[0]
        pair = pairs.get(candidate.label) or (
            pairs.get(folder) if _holds_weights_alone(candidate) else None
        )
        is_lone_half = [role for role, _ in candidate.files] in (["encoder"], ["decoder"])
        is_stray = is_lone_half or _holds_weights_alone(candidate)
        if pair is None or pair is candidate or not is_stray or not named.isdisjoint(labels):
            kept.append(candidate)
        else:
            beside[pair.label] += [label.rpartition("/")[2] for label in labels]
    return [
        replace(candidate, beside=tuple(sorted(beside[candidate.label])))
        if candidate is pairs.get(candidate.label)
        else candidate
        for candidate in kept
    ]


def _holds_weights_alone(candidate: Candidate) -> bool:
    """Whether the files are named as Keras names weights without a model."""
    return all(file.label.lower().endswith(".weights.h5") for _, file in candidate.files)


def _half(file: FoundFile) -> HalfName | None:
    if file.samples is not None:
        return None
    return read_half(file.label, is_folder=file.folder)


def _whole(file: FoundFile) -> Candidate:
    return Candidate(file.label, (("model" if file.samples is None else "samples", file),))


def _joined(files: Iterable[tuple[Role, FoundFile]]) -> Candidate:
    """One or two halves, named without the roles where the rest of their names agrees.

    If they are in two folders, the label has the encoder's.
    """
    decoder_first = tuple(sorted(files, key=lambda half: half[0]))
    candidate = Candidate("", decoder_first)
    names = [_half(file) for _, file in reversed(decoder_first)]
    labels = [name.label for name in names if name is not None]
    agree = len(labels) == len(names) and len({label.rpartition("/")[2] for label in labels}) == 1
    return Candidate(labels[0] if agree else candidate.full_label, decoder_first)
