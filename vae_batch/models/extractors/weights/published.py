"""The published Inception weights files: where they come from and how to recognise them.

Hashes and sizes are from the publishers' sources and other projects' (Keras' own code for its two
files, nine independent projects for the state dict, one for the GraphDef).
"""

from __future__ import annotations

from dataclasses import dataclass

GRAPHDEF_MEMBER = "classify_image_graph_def.pb"

# Format of a file, by its content -> the extractor whose weights have that format.
FORMAT_EXTRACTORS: dict[str, str] = {
    "torch-state-dict": "inception-2015",
    "graphdef": "inception-2015",
    "graphdef-tgz": "inception-2015",
    "keras-h5": "inception-keras",
}

FORMAT_WORDS: dict[str, str] = {
    "torch-state-dict": "a PyTorch state dict",
    "graphdef": "a TensorFlow GraphDef",
    "graphdef-tgz": "a gzip archive",
    "keras-h5": "an HDF5 file of Keras",
}

WANTED: dict[str, str] = {
    "inception-2015": (
        "the 2015 GraphDef (classify_image_graph_def.pb or inception-2015-12-05.tgz) or "
        "pt_inception-2015-12-05-6726825d.pth"
    ),
    "inception-keras": "inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
}


@dataclass(frozen=True)
class PublishedWeights:
    """One published file.

    Attributes:
        name: File name given by the publisher.
        extractor: The extractor it is for.
        format: One of ``FORMAT_EXTRACTORS``.
        url: Official address.
        bytes: Size, where known.
        sha256: Of the file, where known.
        md5: Of the file (of the GraphDef inside, for the archive), where known.
        class_count: Classes of its classifier; 0 without one.
        publisher: Who offers it.
    """

    name: str
    extractor: str
    format: str
    url: str
    bytes: int | None
    sha256: str | None
    md5: str | None
    class_count: int
    publisher: str


_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
_GRAPHDEF_MD5 = "e6bb154e85f5d4331c22abcddb5dcf31"

# The first file of an extractor is the one that is downloaded where none is found: for
# inception-2015 the state dict, as its sha256 is known and reading it needs no TensorFlow.
PUBLISHED: tuple[PublishedWeights, ...] = (
    PublishedWeights(
        name="pt_inception-2015-12-05-6726825d.pth",
        extractor="inception-2015",
        format="torch-state-dict",
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        bytes=95_628_359,
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        md5=None,
        class_count=1008,
        publisher="pytorch-fid",
    ),
    PublishedWeights(
        name=GRAPHDEF_MEMBER,
        extractor="inception-2015",
        format="graphdef",
        url="https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/"
        "classify_image_graph_def.pb",
        bytes=95_673_916,
        sha256=None,
        md5=_GRAPHDEF_MD5,
        class_count=1008,
        publisher="OpenAI",
    ),
    PublishedWeights(
        name="inception-2015-12-05.tgz",
        extractor="inception-2015",
        format="graphdef-tgz",
        url="https://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz",
        bytes=88_931_400,
        sha256=None,
        md5=_GRAPHDEF_MD5,
        class_count=1008,
        publisher="TensorFlow",
    ),
    PublishedWeights(
        name="inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        extractor="inception-keras",
        format="keras-h5",
        url=_KERAS_URL + "inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        bytes=None,
        sha256=None,
        md5="9a0d58056eeedaa3f26cb7ebd46da564",
        class_count=1000,
        publisher="Keras",
    ),
    PublishedWeights(
        name="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        extractor="inception-keras",
        format="keras-h5",
        url=_KERAS_URL + "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        bytes=None,
        sha256=None,
        md5="bcbd6486424b2319ff4ef7d526e38f63",
        class_count=0,
        publisher="Keras",
    ),
)


def published_by_hash(sha256: str, md5: str, format: str) -> PublishedWeights | None:
    """The published file of this content and format, if it is one."""
    for entry in PUBLISHED:
        known = sha256 == entry.sha256 or md5 == entry.md5
        if known and entry.format == format:
            return entry
    return None


def published_by_name(name: str) -> PublishedWeights | None:
    """The published file of this name, if there is one."""
    return next((entry for entry in PUBLISHED if entry.name == name), None)


def published_for(extractor: str) -> tuple[PublishedWeights, ...]:
    """Published files of an extractor, the preferred one first."""
    return tuple(entry for entry in PUBLISHED if entry.extractor == extractor)
