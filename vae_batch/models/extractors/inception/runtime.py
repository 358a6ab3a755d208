"""Runs an Inception network on batches of one fixed shape, as fast as the backend allows.

On TensorFlow, resize, normalisation and network are one graph of one static shape, in which oneDNN
fuses convolution, bias and ReLU; on a GPU, TensorFlow's default TF32 convolutions apply. The
weights stay variables: frozen into constants they gave the same bits and the same speed (within
1 % of CPU time at batch 32), but 2.7 - 3.1 GiB of peak memory instead of 1.4 GiB and ten seconds
more before the first batch. On other backends one Keras model does the same work.
``TF_ENABLE_ONEDNN_OPTS=1`` must be in the environment before TensorFlow is imported; it makes
extraction 1.3 times faster on CPUs where it is not the default.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vae_batch.models.extractors.inception.layout import IMAGE_SIZE
from vae_batch.models.extractors.inception.resize import Tensor, normalise, resize

if TYPE_CHECKING:
    import keras

_log = logging.getLogger(__name__)

# (batch, height, width, 3) uint8 -> the network's outputs as float32 arrays.
Runner = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]


def grow_gpu_memory() -> None:
    """Let TensorFlow allocate GPU memory on demand, unless it has started already."""
    import tensorflow as tf

    try:
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError as error:
        _log.debug("TensorFlow has started already, so its memory settings stay: %s", error)


#: Batches that should run at the same time in a TensorFlow process. On CPUs one keeps the cores
#: busy while the other waits for its slowest thread at the end of an operation (1.1 times as many
#: images/s on 2 cores); on GPUs one is prepared on the host while the other computes. Results do
#: not depend on it.
CONCURRENT_BATCHES = 2


def _tensorflow_resize(images: Tensor, name: str) -> Tensor:
    """Resize, with TensorFlow's own kernel where it has one."""
    import keras
    import tensorflow as tf

    if name == "pil-bicubic":
        return resize(tf.cast(images, tf.float32), name, IMAGE_SIZE, ops=keras.ops)
    return tf.raw_ops.ResizeBilinear(
        images=images,
        size=(IMAGE_SIZE, IMAGE_SIZE),
        align_corners=False,
        half_pixel_centers=name == "tf2-bilinear",
    )


def _arrays(outputs: Tensor | list[Tensor]) -> list[NDArray[np.float32]]:
    """Outputs of a Keras model, which returns a single one outside a list."""
    listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.asarray(output) for output in listed]


def tensorflow_runner(
    network: keras.Model, resize_name: str, normalisation: str, shape: tuple[int, int, int, int]
) -> Runner:
    """Compile the network behind its resize into one graph of one input shape.

    Args:
        network: A model of ``build_network`` on the TensorFlow backend.
        resize_name: One of ``resize.RESIZES``.
        normalisation: One of ``resize.NORMALISATIONS``.
        shape: (batch, height, width, 3) of every call.

    Returns:
        The compiled function.
    """
    import tensorflow as tf

    def extract(images: Tensor) -> Tensor:
        pixels = _tensorflow_resize(images, resize_name)
        return network(normalise(pixels, normalisation), training=False)

    signature = [tf.TensorSpec(shape, tf.uint8)]
    graph = tf.function(extract, autograph=False, input_signature=signature)
    compiled = graph.get_concrete_function()

    def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return _arrays(compiled(tf.constant(images)))

    return run


def keras_runner(
    network: keras.Model, resize_name: str, normalisation: str, shape: tuple[int, int, int, int]
) -> Runner:
    """As ``tensorflow_runner``, on any Keras backend."""
    import keras

    # JAX computes in float32 unless told otherwise for the whole process.
    wide = "float32" if keras.backend.backend() == "jax" else "float64"
    inputs = keras.Input(batch_shape=shape, dtype="uint8")
    pixels = resize(
        keras.ops.cast(inputs, "float32"), resize_name, IMAGE_SIZE, ops=keras.ops, wide=wide
    )
    model = keras.Model(inputs, network(normalise(pixels, normalisation)))

    def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return _arrays(model.predict_on_batch(images))

    return run
