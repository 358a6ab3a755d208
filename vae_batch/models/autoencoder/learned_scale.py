"""A decoder's second output: the scale of its pixels, learned beside their mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.images import ImageLayout
from vae_batch.models.autoencoder.labels import list_ports
from vae_batch.models.autoencoder.network_runs import Trial, require_finite
from vae_batch.plan.errors import CheckpointError

Kind = Literal["log_std", "logvar", "std"]

#: What an output's name says it is, the first that fits; letters only.
_NAMES: tuple[tuple[str, Kind], ...] = (
    ("(log|ln)_?var", "logvar"),
    ("(log|ln)_?(std|sigma|scale)", "log_std"),
    ("std|sigma|scale", "std"),
)


@dataclass(frozen=True)
class LearnedScale:
    """Where a decoder gives its pixels' scale.

    Attributes:
      index: Place among the network's outputs.
      kind: What it gives.
      name: Of the output.
    """

    index: int
    kind: Kind
    name: str

    def log_scale(self, output: npt.NDArray[Any], images: ImageLayout) -> npt.NDArray[np.float32]:
        """(n, H, W, C) logarithm of the standard deviation, of one value a pixel or an image.

        Raises:
          CheckpointError: A standard deviation is not positive.
        """
        require_finite(output, "decoder's scale")
        values = output.astype(np.float64)
        if self.kind == "std":
            if values.min() <= 0:
                raise CheckpointError(
                    f"the decoder's output {self.name!r} is read as a standard deviation but has "
                    f"{values.min():.4g}; name it log_std or log_var if it is a logarithm"
                )
            values = np.log(values)
        values = (values / 2 if self.kind == "logvar" else values).astype(np.float32)
        if values[0].size == int(np.prod(images.image_shape)):
            return images.from_network(values)
        one_each = values.reshape(len(values), 1, 1, -1)
        return np.broadcast_to(one_each, (len(values), *images.image_shape)).copy()


def find_learned_scale(trial: Trial, images: int, layout: ImageLayout) -> LearnedScale:
    """The output beside the images that holds their scale.

    Args:
      trial: Of the decoder.
      images: Place of the mean image.
      layout: Of the images.

    Raises:
      CheckpointError: There is no such output, or its name does not say what it is.
    """
    sizes = {1, layout.image_shape[2], int(np.prod(layout.image_shape))}
    others = [
        place
        for place, output in enumerate(trial.outputs)
        if place != images and output[0].size in sizes
    ]
    for place in others:
        name = trial.network.outputs[place].name
        for pattern, kind in _NAMES:
            if re.search(pattern, name.lower()):
                return LearnedScale(place, kind, name)
    raise CheckpointError(
        f"--sigma learned needs a decoder output that holds the scale (one value a pixel, channel "
        f"or image) and says so in its name: log_var, log_std or std; found the outputs "
        f"{list_ports(trial.network.outputs)}; name it so, or declare --sigma as a number or "
        "optimal",
        {"sigma": "optimal"},
    )
