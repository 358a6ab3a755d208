"""An encoder's outputs as a posterior: which is the mean, which the second head, which is z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.head_names import HeadName, HeadRole, read_head_name
from vae_batch.models.autoencoder.network_runs import require_finite
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import SecondHead

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HeadRoles:
    """Places of the heads among an encoder's outputs.

    Attributes:
      mean: Of the mean.
      second: Of the second head, or None.
      z: Of the latent sample, or None.
      packed: Whether output ``mean`` holds both heads, joined along its last axis.
      how: How this was settled.
    """

    mean: int
    second: int | None = None
    z: int | None = None
    packed: bool = False
    how: str = ""

    @property
    def has_second(self) -> bool:
        """Whether there is a second head."""
        return self.packed or self.second is not None

    def latent_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Of the mean, given the shapes of all outputs."""
        shape = shapes[self.mean]
        return (*shape[:-1], shape[-1] // 2) if self.packed else shape

    def split(self, outputs: Sequence[Floats]) -> tuple[Floats, Floats | None]:
        """Mean and second head, as the network gives it."""
        if self.packed:
            mean, second = np.split(outputs[self.mean], 2, axis=-1)
            return np.ascontiguousarray(mean), np.ascontiguousarray(second)
        return outputs[self.mean], None if self.second is None else outputs[self.second]


@dataclass(frozen=True)
class PosteriorHeads:
    """An encoder's outputs, and what they mean.

    Attributes:
      roles: Which output is which.
      kind: Of the second head, or None where there is none.
    """

    roles: HeadRoles
    kind: SecondHead | None

    def posterior(self, outputs: Sequence[Floats]) -> tuple[Floats, Floats | None]:
        """Mean and log-variance (n, *latent_shape); the latter None for a plain autoencoder.

        Raises:
          CheckpointError: A value is not finite, or a standard deviation is not positive.
        """
        mean, second = self.roles.split(outputs)
        require_finite(mean, "encoder's mean")
        if second is None or self.kind is None:
            return mean, None
        require_finite(second, f"encoder's {WORDS[self.kind]}")
        return mean, to_logvar(second, self.kind)


WORDS: dict[str, str] = {
    "logvar": "log-variance",
    "log_std": "log standard deviation",
    "std": "standard deviation",
}


def to_logvar(second: Floats, kind: SecondHead) -> Floats:
    """A second head as log-variance, computed in float64.

    Raises:
      CheckpointError: A standard deviation is not positive.
    """
    if kind == "logvar":
        return second
    if kind == "log_std":
        return (2.0 * second.astype(np.float64)).astype(np.float32)
    bad = int(np.count_nonzero(second <= 0))
    if bad:
        raise CheckpointError(
            f"the encoder's second head, read as a standard deviation, gives {bad} values that "
            f"are not positive in a batch of {len(second)}; declare --second-head logvar or "
            "log_std if it is one of these",
            {"second_head": "logvar | log_std"},
        )
    return (2.0 * np.log(second.astype(np.float64))).astype(np.float32)


def assign_roles(
    names: Sequence[str], outputs: Sequence[Floats], random: Sequence[bool]
) -> HeadRoles:
    """Roles of one to three outputs of the latent's shape.

    Names decide; an output that differs between two runs is z; of three outputs two that are
    equal are the mean and a z whose sampling layer returns the mean; else position decides, in
    the order mean, second head, z.

    Args:
      names: Of the outputs.
      outputs: Of one run, (n, *latent_shape) each.
      random: Whether each output differs between two runs.

    Raises:
      CheckpointError: More than one output is random, the mean is, or there are too many.
    """
    read = [read_head_name(name) for name in names]
    known = _by_name(read)
    reasons = ["told by names"] if known else []
    _require_one_random(names, random)
    if any(random):
        drawn = random.index(True)
        if known.get("mean") == drawn or known.get("second") == drawn:
            raise CheckpointError(
                f"the encoder's output {names[drawn]!r} differs between two runs on the same "
                "images, so it is drawn, not a mean or second head; save an encoder with the "
                "outputs [mean, log-variance]"
            )
        known["z"] = drawn
        reasons.append("z differs between two runs")
    if len(names) == 3 and len(known) < 3:
        equal = _by_equality(known, outputs)
        if equal is not None:
            known = equal
            reasons.append("the mean equals z, whose sampling layer returns the mean")
    if len(known) < len(names):
        reasons.append("by position, in the order mean, second head, z")
    roles = _by_position(known, len(names))
    if "mean" not in roles:
        roles["mean"] = _mean_called_z(names, roles, random)
    return HeadRoles(
        roles["mean"],
        roles.get("second"),
        roles.get("z"),
        how="; ".join(reasons),
    )


def _by_name(read: Sequence[HeadName]) -> dict[HeadRole, int]:
    """Roles that exactly one name tells."""
    said = [name.role for name in read]
    roles: tuple[HeadRole, ...] = ("mean", "second", "z")
    return {role: said.index(role) for role in roles if said.count(role) == 1}


def _require_one_random(names: Sequence[str], random: Sequence[bool]) -> None:
    if sum(random) > 1:
        drawn = ", ".join(repr(n) for n, is_random in zip(names, random, strict=True) if is_random)
        raise CheckpointError(
            f"the encoder's outputs {drawn} differ between two runs on the same images: something "
            "random acts in inference too; save an encoder with the outputs [mean, log-variance]"
        )


def _by_equality(
    known: dict[HeadRole, int], outputs: Sequence[Floats]
) -> dict[HeadRole, int] | None:
    """Roles of three outputs of which two are equal; None where that says nothing new."""
    pairs = [
        (i, j) for i in range(3) for j in range(i + 1, 3) if np.array_equal(outputs[i], outputs[j])
    ]
    if len(pairs) != 1:
        return None
    (first, other), second = pairs[0], 3 - sum(pairs[0])
    swap = known.get("mean") == other or known.get("z") == first
    mean, z = (other, first) if swap else (first, other)
    roles: dict[HeadRole, int] = {"mean": mean, "second": second, "z": z}
    return roles if all(roles[role] == index for role, index in known.items()) else None


def _by_position(known: dict[HeadRole, int], count: int) -> dict[HeadRole, int]:
    """All roles: those that are known, and the free outputs in the order mean, second, z."""
    roles = dict(known)
    free = [index for index in range(count) if index not in known.values()]
    order: tuple[HeadRole, ...] = ("mean", "second", "z")
    for role in order:
        if role not in roles and free:
            roles[role] = free.pop(0)
    return roles


def _mean_called_z(names: Sequence[str], roles: dict[HeadRole, int], random: Sequence[bool]) -> int:
    """Of a second head and z, the z where it is not drawn: a mean that is named z."""
    z = roles.pop("z")
    if random[z]:
        raise CheckpointError(
            f"the encoder gives {', '.join(map(repr, names))}, a drawn z and a second head, but no "
            "mean; save an encoder with the outputs [mean, log-variance]"
        )
    return z


def output_name(names: Sequence[Any], roles: HeadRoles) -> str:
    """Name of the output that holds the second head."""
    return str(names[roles.mean if roles.second is None else roles.second])
