"""An encoder's outputs: which is the mean, which the second head, which is z, by name and value.

A posterior q(z|x) = N(mean, sigma^2) has two heads. The second one holds log sigma^2, log sigma or
sigma; :mod:`.second_head` decides which.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vae_batch.models.formats.format import Floats, Shape
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import SecondHead

HeadRole = Literal["mean", "second", "z"]
#: What a second head may hold. A variance cannot be declared, but must be recognised.
Kind = Literal["logvar", "log_std", "std", "variance"]
ALL_KINDS: frozenset[Kind] = frozenset({"logvar", "log_std", "std", "variance"})
WORDS: dict[Kind, str] = {
    "logvar": "log-variance",
    "log_std": "log standard deviation",
    "std": "standard deviation",
    "variance": "variance",
}
_ROLES: tuple[HeadRole, ...] = ("mean", "second", "z")

#: Pattern of the name's letters and digits, joined, and what it may mean; the first match counts.
#: Tutorials write log_sigma for half the log-variance and for all of it, and sigma for what
#: they pass through exp(sigma / 2), so these names leave more than one kind.
_KINDS: tuple[tuple[str, frozenset[Kind]], ...] = (
    (r"(log|ln)(z?var|variance|(sigma|std|scale)(2|sq)|sq(uared)?(sigma|std|scale))",
     frozenset({"logvar"})),
    (r"(log|ln)(std|stdev|standarddeviation|scale|sd$)", frozenset({"log_std"})),
    (r"(log|ln)z?sigma", frozenset({"logvar", "log_std"})),
    (r"(sigma|std|scale)(2|sq)|variance|var$", frozenset({"logvar", "variance"})),
    (r"sigma", frozenset({"logvar", "log_std", "std"})),
    (r"std(dev)?z?$|stdev|standarddeviation|(^|z|latent|posterior)scale$", frozenset({"std"})),
)  # fmt: skip
_OPERATIONS = {"biasadd", "matmul", "identity", "add", "statefulpartitionedcall", "partitionedcall"}


@dataclass(frozen=True)
class HeadName:
    """What the name of an output says.

    Attributes:
        role: None where it says nothing.
        kinds: What a second head may hold; all kinds where the name says nothing.
    """

    role: HeadRole | None
    kinds: frozenset[Kind] = ALL_KINDS


def read_head_name(name: str) -> HeadName:
    """The meaning of an output's name, such as ``z_mean``, ``logVar_1``, ``q/sigma:0``."""
    words = _words(name)
    joined = "".join(words)
    for pattern, kinds in _KINDS:
        if re.search(pattern, joined):
            return HeadName("second", kinds)
    if re.search(r"sampl|reparam", joined):
        return HeadName("z")
    if re.search(r"mean|mu$", joined) or {"mu", "loc"} & set(words):
        return HeadName("mean")
    if words and words[-1] == "z":
        return HeadName("z")
    return HeadName(None)


def _words(name: str) -> list[str]:
    """Words and digits of the name's last part that is no operation, without Keras' counter."""
    parts = re.sub(r":\d+$", "", name).split("/")
    meant = [part for part in parts if re.sub(r"_\d+$", "", part).lower() not in _OPERATIONS]
    part = re.sub(r"_\d+$", "", (meant or parts)[-1])
    snake = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", part).lower()
    return re.findall(r"[a-z]+|\d+", snake)


@dataclass(frozen=True)
class HeadRoles:
    """Places of the heads among an encoder's outputs.

    Attributes:
        mean: Place of the mean.
        second: Place of the second head, or None.
        z: Place of the latent sample, or None.
        packed: Axis of a sample (-1 or 0, the channels) along which output ``mean`` holds both
            heads; None where each has its own output.
        how: How this was decided.
    """

    mean: int
    second: int | None = None
    z: int | None = None
    packed: int | None = None
    how: str = ""

    @property
    def has_second(self) -> bool:
        """Whether there is a second head."""
        return self.packed is not None or self.second is not None

    @property
    def second_output(self) -> int:
        """Place of the output that holds the second head."""
        return self.mean if self.second is None else self.second

    def latent_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Shape of the mean, given the shapes of all outputs."""
        shape = list(shapes[self.mean])
        if self.packed is not None:
            shape[self.packed] //= 2
        return tuple(shape)

    def split(self, outputs: Sequence[Floats]) -> tuple[Floats, Floats | None]:
        """Mean and second head, as the network returns them."""
        if self.packed is not None:
            axis = self.packed if self.packed < 0 else self.packed + 1
            mean, second = np.split(outputs[self.mean], 2, axis=axis)
            return np.ascontiguousarray(mean), np.ascontiguousarray(second)
        return outputs[self.mean], None if self.second is None else outputs[self.second]


def to_logvar(second: Floats, kind: SecondHead) -> Floats:
    """A second head as log-variance, computed in float64."""
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
            {"second_head": ("logvar", "log_std")},
        )
    return (2.0 * np.log(second.astype(np.float64))).astype(np.float32)


def assign_roles(
    names: Sequence[str], outputs: Sequence[Floats], random: Sequence[bool]
) -> HeadRoles:
    """Roles of one to three outputs that have the latent's shape.

    Names decide. An output that differs between two runs is z. Of three outputs, two that are
    equal are the mean and a z whose sampling layer returns the mean. Else position decides, in the
    order mean, second head, z. ``random`` says which outputs differ between two runs.
    """
    said = [read_head_name(name).role for name in names]
    known = {role: said.index(role) for role in _ROLES if said.count(role) == 1}
    reasons = ["by the outputs' names"] if known else []
    _require_one_random(names, random)
    if any(random):
        drawn = random.index(True)
        if drawn in (known.get("mean"), known.get("second")):
            raise CheckpointError(
                f"the encoder's output {names[drawn]!r} differs between two runs on the same "
                "images, so it is a random sample, not a mean or second head; save an encoder with "
                "the outputs [mean, log-variance]"
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
    how = "; ".join(reasons)
    return HeadRoles(roles["mean"], roles.get("second"), roles.get("z"), how=how)


def _require_one_random(names: Sequence[str], random: Sequence[bool]) -> None:
    if sum(random) > 1:
        drawn = ", ".join(repr(n) for n, is_random in zip(names, random, strict=True) if is_random)
        raise CheckpointError(
            f"the encoder's outputs {drawn} differ between two runs on the same images: some layer "
            "is random at inference too; save an encoder with the outputs [mean, log-variance]"
        )


def _by_equality(
    known: dict[HeadRole, int], outputs: Sequence[Floats]
) -> dict[HeadRole, int] | None:
    """Roles of three outputs of which two are equal; None where that adds nothing."""
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
    for role in _ROLES:
        if role not in roles and free:
            roles[role] = free.pop(0)
    return roles


def _mean_called_z(names: Sequence[str], roles: dict[HeadRole, int], random: Sequence[bool]) -> int:
    """Of a second head and z: a z that is not random is a mean that is named z."""
    z = roles.pop("z")
    if random[z]:
        raise CheckpointError(
            f"the encoder gives {', '.join(map(repr, names))}: a sampled z and a second head, but "
            "no mean; save an encoder with the outputs [mean, log-variance]"
        )
    return z
