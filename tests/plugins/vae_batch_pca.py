"""Score linear decoders with vae_batch: a plug-in for the entry point ``vae_batch.checkpoints``."""

import numpy as np


class PcaDecoder:
    """An image is ``mean + z @ components``, of z from N(0, I)."""

    encode = None  # a decoder alone: sample metrics, and null losses with the reason
    output = "mean"  # of a gaussian; or "logits", "probabilities"

    def __init__(self, path):
        with open(path, "rb") as file:
            file.readline()  # the mark
            self._mean = np.load(file)  # (H, W, C)
            self._components = np.load(file)  # (d, H * W * C)
        self.latent_shape = self._components.shape[:1]
        self.image_shape = self._mean.shape

    def decode(self, latents):  # (n, d) to (n, H, W, C)
        return self._mean + (latents @ self._components).reshape(-1, *self.image_shape)


class PcaFormat:
    """What the entry point names; see ``vae_batch.models.formats.format.CheckpointFormat``."""

    name = "pca"
    suffixes = (".pca",)  # what a scan of a folder takes

    def recognises(self, path, head):  # head: the first 4096 bytes
        return head.startswith(b"PCA 1\n")

    def load(self, files, options):
        return PcaDecoder(files.get("decoder") or files["model"])
