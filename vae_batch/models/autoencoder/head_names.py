"""What the name of an encoder's output says: mean, second head or z, and of which kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

HeadRole = Literal["mean", "second", "z"]
#: Readings of a second head; a variance cannot be declared, but must be told from the others.
Kind = Literal["logvar", "log_std", "std", "variance"]
ALL_KINDS: frozenset[Kind] = frozenset({"logvar", "log_std", "std", "variance"})

#: Pattern of the name's letters and digits, joined; what it may mean. The first match counts.
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
    """What a name says.

    Attributes:
      role: None where it says nothing.
      kinds: What a second head may be; all kinds where the name says nothing.
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
