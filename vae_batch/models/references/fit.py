"""Crops and resizes that bring reference images to one size, as training code does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vae_batch.plan.reading import ReferenceFilter, ReferenceFit

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SquareFit:
    """Makes images square.

    Attributes:
        how: ``center-crop`` is ADM's: halved by a box filter while both sides are at least twice
            the size, the shorter side brought to the size by Pillow's bicubic filter, and the
            middle cropped (guided-diffusion, ``center_crop_arr``). ``resize`` is Pillow's Lanczos
            filter to a square, whatever the shape.
        size: Pixels of a side.
        by: Pillow's filter that resizes in one step instead; None for those named above.
    """

    how: ReferenceFit
    size: int
    by: ReferenceFilter | None = None

    @property
    def words(self) -> str:
        """As rows say it, such as ``center-crop 256`` or ``resize 256 box``."""
        return " ".join(filter(None, (self.how, str(self.size), self.by)))

    def of_image(self, image: Image.Image) -> Image.Image:
        """An 8-bit grey or RGB image of ``size`` by ``size`` pixels."""
        from PIL import Image

        filters = Image.Resampling
        if self.how == "resize":
            return image.resize((self.size, self.size), filters[(self.by or "lanczos").upper()])
        width, height = image.size
        while self.by is None and min(width, height) >= 2 * self.size:
            width, height = width // 2, height // 2
            image = image.resize((width, height), filters.BOX)
        scale = self.size / min(width, height)
        width, height = round(width * scale), round(height * scale)
        image = image.resize((width, height), filters[(self.by or "bicubic").upper()])
        left, top = (width - self.size) // 2, (height - self.size) // 2
        return image.crop((left, top, left + self.size, top + self.size))

    def of_pixels(self, pixels: Pixels) -> Pixels:
        """(n, H, W, C) uint8 images as (n, size, size, C)."""
        from PIL import Image

        channels = pixels.shape[-1]
        fitted = np.empty((len(pixels), self.size, self.size, channels), np.uint8)
        for row, image in enumerate(pixels):
            plain = Image.fromarray(image[..., 0] if channels == 1 else image)
            fitted[row] = np.asarray(self.of_image(plain)).reshape(fitted.shape[1:])
        return fitted
