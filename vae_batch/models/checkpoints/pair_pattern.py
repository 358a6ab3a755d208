"""Halves paired by two patterns: ``runs/*/enc-{step}.keras`` and ``runs/*/dec-{step}.keras``."""

from __future__ import annotations

from vae_batch.models.checkpoints.halves import Candidate, Role, halves
from vae_batch.models.checkpoints.listing import FoundFile, find_files
from vae_batch.models.checkpoints.not_found import nothing_found
from vae_batch.models.checkpoints.wildcards import Wildcards, compile_pattern
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location

_Key = tuple[tuple[str, ...], int]


def find_halves(encoder: str | None, decoder: str | None) -> list[Candidate]:
    """Checkpoints of two patterns: halves whose wildcards and step are equal are one VAE.

    One of the patterns may be missing; a half without a partner is a checkpoint of its own.

    Raises:
      InputError: The patterns do not fit each other, one matches nothing, or one does not tell
        two files apart.
    """
    patterns: dict[Role, str] = {}
    if encoder is not None:
        patterns["encoder"] = encoder
    if decoder is not None:
        patterns["decoder"] = decoder
    if encoder is not None and decoder is not None:
        _require_fit(encoder, decoder)
    vaes: dict[_Key, list[tuple[Role, FoundFile]]] = {}
    for role, pattern in patterns.items():
        for key, file in _by_wildcards(role, pattern).items():
            vaes.setdefault(key, []).append((role, file))
    for members in vaes.values():
        _require_two_files(members)
    return [halves(members) for _, members in sorted(vaes.items())]


def _require_fit(encoder: str, decoder: str) -> None:
    one, other = _compiled(encoder), _compiled(decoder)
    if one.wildcards != other.wildcards or one.has_step != other.has_step:
        raise InputError(
            f"encoder = {encoder!r} has {_wildcard_words(encoder)} but decoder = {decoder!r} has "
            f"{_wildcard_words(decoder)}; halves are paired by what these stand for, so write the "
            "same ones in the same order in both patterns"
        )


def _wildcard_words(pattern: str) -> str:
    compiled = _compiled(pattern)
    words = [*compiled.wildcards, *(["{step}"] if compiled.has_step else [])]
    return f"the wildcards {' '.join(words)}" if words else "no wildcard"


def _compiled(pattern: str) -> Wildcards:
    return compile_pattern(Location.parse(pattern).path)


def _by_wildcards(role: Role, pattern: str) -> dict[_Key, FoundFile]:
    """A pattern's files by what its wildcards stand for in each; {step} compares as a number."""
    found = find_files(pattern)
    if not found:
        raise InputError(nothing_found(pattern, role))
    files: dict[_Key, FoundFile] = {}
    for file in found:
        key = file.match.captures, -1 if file.match.step is None else file.match.step
        other = files.setdefault(key, file)
        if other is not file:
            raise InputError(
                f"{role} = {pattern!r} matches {other.label} and {file.label} with the same "
                "wildcards, so it is open which one belongs to a checkpoint; write a pattern that "
                "tells them apart, with * or {step} where their names differ"
            )
    return files


def _require_two_files(members: list[tuple[Role, FoundFile]]) -> None:
    if len(members) == 2 and members[0][1].path == members[1][1].path:
        raise InputError(
            f"encoder and decoder patterns both match {members[0][1].label}; a file that holds "
            "both halves is named in checkpoints, without these patterns"
        )
