"""Identities without TensorFlow, and the extractor's laws on random weights."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.models.published_layouts import (
    RawInception,
    sample_images,
    state_dict_arrays,
    write_graphdef,
    write_keras_h5,
    write_legacy_state_dict,
)
from support.models.toy_models import save_classifier

from vae_batch.models.extractors.classifier import identify_classifier
from vae_batch.models.extractors.inception.extractor import (
    INCEPTION_EXTRACTORS,
    InceptionExtractor,
    identify_inception,
)
from vae_batch.models.extractors.inception.resize import RESIZES
from vae_batch.models.extractors.inception.runtime import CONCURRENT_BATCHES
from vae_batch.models.extractors.reading import noise_probe
from vae_batch.models.extractors.registry import extractor_folder
from vae_batch.plan import make_spec
from vae_batch.plan.errors import InputError


@pytest.fixture(scope="module")
def extractor() -> InceptionExtractor:
    return InceptionExtractor(identify_inception("inception-random"), batch_size=4)


def test_identity_of_random_weights() -> None:
    identity = identify_inception("inception-random", weights=["ignored/by/random"])
    assert identity.protocol == "inception-random/tf2-bilinear/299/uint8/x/127.5-1"
    assert (identity.feature_dim, identity.class_count) == (2048, 1000)
    assert identity.weights_path is None
    assert "random weights" in str(identity.inception_score_reason)
    # sha256 of random_weights_description(): every stored score of inception-random has it.
    assert identity.weights_sha256[:16] == "fc72a19e73205e95"
    assert pickle.loads(pickle.dumps(identity)) == identity


def test_identity_of_the_2015_file(state_dict_file: Path) -> None:
    identity = identify_inception("inception-2015", [str(state_dict_file)], allow_unverified=True)
    assert identity.protocol == "inception-2015/tf1-bilinear/299/uint8/(x-128)/128"
    assert identity.class_count == 1008
    assert identity.inception_score_reason is None
    assert not identity.verified
    name = f"inception-2015@{identity.weights_sha256[:8]}, unverified weights"
    assert (identity.name, identity.network) == (name, "inception-2015")
    assert extractor_folder(identity) == f"inception-2015-{identity.weights_sha256[:12]}"


def test_a_classifier_in_a_file_of_a_network_s_name_is_a_classifier(tmp_path: Path) -> None:
    path = tmp_path / "inception-2015.keras"
    save_classifier(path)
    settings = {"checkpoints": ["runs"], "reference": "digits", "extractors": [str(path)]}
    spec = make_spec(settings | {"workers": 0})
    identity = identify_classifier(str(path), spec, lambda: noise_probe((8, 8, 1)))
    assert identity.name == f"inception-2015@{identity.weights_sha256[:8]}"
    assert identity.network == "classifier"


def test_another_resize_is_another_protocol() -> None:
    own = identify_inception("inception-random")
    other = identify_inception("inception-random", resize="pil-bicubic")
    assert other.protocol == "inception-random/pil-bicubic/299/uint8/x/127.5-1"
    assert other.weights_sha256 == own.weights_sha256


def test_identities_import_neither_tensorflow_nor_keras(keras_file: Path) -> None:
    script = (
        "import sys; "
        "from vae_batch.models.extractors.inception.extractor import identify_inception as f; "
        "f('inception-random'); f('inception-keras', [sys.argv[1]], allow_unverified=True); "
        "print({'tensorflow', 'keras', 'torch', 'jax', 'ray'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, str(keras_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("inception-v4", {}, f"expected one of {', '.join(INCEPTION_EXTRACTORS)}"),
        ("inception-random", {"resize": "lanczos"}, "resize 'lanczos' is unknown"),
        ("inception-random", {"normalisation": "x"}, "normalisation 'x' is unknown"),
    ],
)
def test_unknown_names(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        identify_inception(name, **options)


def test_shapes_dtypes_and_probabilities(extractor: InceptionExtractor) -> None:
    features, probabilities = extractor.extract(sample_images(3, 28, 28))
    assert (features.shape, features.dtype) == ((3, 2048), np.float32)
    assert (probabilities.shape, probabilities.dtype) == ((3, 1000), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    assert (features >= 0).all()  # a mean of ReLU outputs
    assert 0.1 < features.mean() < 10.0  # sane activations: neither vanishing nor exploding


def test_bits_do_not_depend_on_neighbours_or_place(extractor: InceptionExtractor) -> None:
    images = sample_images(4, 28, 28)
    together = extractor.extract(images)
    for place in (0, 3):
        alone = extractor.extract(images[place : place + 1])
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], all_[place])


def test_features_tell_images_apart(extractor: InceptionExtractor) -> None:
    features, _ = extractor.extract(sample_images(4, 28, 28))
    norms = np.linalg.norm(features, axis=1)
    cosines = (features @ features.T) / np.outer(norms, norms)
    assert cosines[~np.eye(4, dtype=bool)].max() < 0.999


def test_several_image_sizes(extractor: InceptionExtractor) -> None:
    for size in (8, 28, 300, 28):
        features, _ = extractor.extract(sample_images(2, size, size))
        assert np.isfinite(features).all()
    assert len(extractor._runners) == 2  # only the latest sizes are kept


def test_no_images_give_no_rows(extractor: InceptionExtractor) -> None:
    features, probabilities = extractor.extract(np.zeros((0, 28, 28, 3), np.uint8))
    assert features.shape == (0, 2048)
    assert probabilities.shape == (0, 1000)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 28, 28, 1), np.uint8), r"found uint8 of shape \(2, 28, 28, 1\)"),
        (np.zeros((2, 28, 28, 3), np.float32), "found float32"),
        (np.zeros((28, 28, 3), np.uint8), r"shape \(28, 28, 3\)"),
        (np.zeros((5, 28, 28, 3), np.uint8), "at most batch_size = 4 images, found 5"),
    ],
)
def test_wrong_images_are_refused(
    extractor: InceptionExtractor, images: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        extractor.extract(images)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size should be at least 1, found 0"):
        InceptionExtractor(identify_inception("inception-random"), batch_size=0)


def load(path: Path, name: str = "inception-2015") -> None:
    identity = identify_inception(name, [str(path)], allow_unverified=True)
    InceptionExtractor(identity, batch_size=1)


def test_a_truncated_graphdef_is_not_loaded(graphdef_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.pb"
    content = graphdef_file.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cannot be parsed.*truncated"):
        load(path)


def test_a_truncated_state_dict_is_not_loaded(state_dict_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.pth"
    path.write_bytes(state_dict_file.read_bytes()[:-1000])
    with pytest.raises(InputError, match="truncated"):
        load(path)


def test_a_truncated_h5_is_not_loaded(keras_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.h5"
    path.write_bytes(keras_file.read_bytes()[:-100_000])
    with pytest.raises(InputError, match="truncated"):
        load(path, "inception-keras")


def test_an_incomplete_network_is_not_loaded(raw_2015: RawInception, tmp_path: Path) -> None:
    arrays = state_dict_arrays(raw_2015, counters=True)
    del arrays["Mixed_7c.branch_pool.bn.running_var"]
    with pytest.raises(InputError, match=r"lack 'Mixed_7c\.branch_pool\.bn\.running_var'"):
        load(write_legacy_state_dict(tmp_path / "lacking.pth", arrays))


def test_weights_of_torchvision_are_named(raw_2015: RawInception, tmp_path: Path) -> None:
    arrays = state_dict_arrays(raw_2015) | {"fc.weight": np.zeros((1000, 2048), np.float32)}
    with pytest.raises(InputError, match="1000 classes, as torchvision's has"):
        load(write_legacy_state_dict(tmp_path / "torchvision.pth", arrays))


def test_numbers_that_are_not_finite_are_refused(raw_2015: RawInception, tmp_path: Path) -> None:
    arrays = state_dict_arrays(raw_2015)
    arrays["fc.bias"] = np.full(1008, np.inf, np.float32)
    with pytest.raises(InputError, match=r"'fc\.bias' holds values that are not finite"):
        load(write_legacy_state_dict(tmp_path / "inf.pth", arrays))


def test_swapped_units_of_another_shape_are_refused(raw_2015: RawInception, tmp_path: Path) -> None:
    units = dict(raw_2015.units)
    one, two = "Mixed_6b.branch7x7_2", "Mixed_6b.branch7x7dbl_2"  # 1x7 and 7x1
    units[one], units[two] = units[two], units[one]
    swapped = RawInception(units, raw_2015.kernel, raw_2015.bias)
    with pytest.raises(InputError, match=r"should be float32 of shape \(1, 7, 128, 128\)"):
        load(write_graphdef(tmp_path / "swapped.pb", swapped))


def test_another_keras_network_is_refused(raw_keras: RawInception, tmp_path: Path) -> None:
    import h5py

    path = write_keras_h5(tmp_path / "cut.h5", raw_keras)
    with h5py.File(path, "a") as file:
        names = [n for n in file.attrs["layer_names"] if n not in ("conv2d_94", b"conv2d_94")]
        file.attrs["layer_names"] = names
    with pytest.raises(InputError, match="found 93, 94 and 1; this is another network"):
        load(path, "inception-keras")


def test_weights_that_changed_after_planning_are_not_loaded(
    raw_keras: RawInception, tmp_path: Path
) -> None:
    path = write_keras_h5(tmp_path / "changing.h5", raw_keras)
    identity = identify_inception("inception-keras", [str(path)], allow_unverified=True)
    write_keras_h5(path, raw_keras, top=False)
    with pytest.raises(InputError, match="has changed: expected sha256"):
        InceptionExtractor(identity, batch_size=1)


@pytest.mark.parametrize("resize", RESIZES)
def test_batches_of_the_bicubic_resize_take_turns(
    resize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow sums its taps in a buffer of the graph: AlreadyExistsError where two run."""
    monkeypatch.setattr(f"{InceptionExtractor.__module__}._load", lambda _: None)
    monkeypatch.setattr(f"{InceptionExtractor.__module__}.build_network", lambda *_: None)
    identity = identify_inception("inception-random", resize=resize)
    at_once = InceptionExtractor(identity, 8).concurrent_batches
    assert at_once == (1 if resize == "pil-bicubic" else CONCURRENT_BATCHES)
    own = resize == "tf2-bilinear"
    assert identity.name == ("inception-random" if own else f"inception-random {resize}")
