"""Score ONNX decoders with vae_batch: a plug-in for the entry point ``vae_batch.checkpoints``."""


class OnnxDecoder:
    """An ONNX graph that turns latents (n, d) into images (n, H, W, C) of probabilities."""

    encode = None  # a decoder alone: sample metrics, and null losses with the reason
    output = "probabilities"  # or "logits", or a gaussian "mean"

    def __init__(self, path):
        import onnxruntime  # here, so that listing formats stays quick

        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._latents = self._session.get_inputs()[0]
        self.latent_shape = tuple(self._latents.shape[1:])
        self.image_shape = tuple(self._session.get_outputs()[0].shape[1:])

    def decode(self, latents):
        return self._session.run(None, {self._latents.name: latents})[0]


class OnnxFormat:
    """What the entry point names; see ``vae_batch.models.formats.format.CheckpointFormat``."""

    name = "onnx"
    suffixes = (".onnx",)  # what a scan of a folder takes

    def recognises(self, path, head):  # head: the first 4096 bytes
        return path.endswith(".onnx")

    def load(self, files, options):
        return OnnxDecoder(files.get("decoder") or files["model"])
