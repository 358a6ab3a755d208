from __future__ import annotations

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vae_batch.models.image_range import (
    VALUE_RANGES,
    from_uint8,
    resolve_range,
    to_three_channels,
    to_uint8,
)
from vae_batch.models.references.reference import open_reference
from vae_batch.plan.errors import InputError

GREY = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5) * 6  # 0, 6, ..., 234


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def saved(tmp_path):
    def save(array, name="set.npy"):
        path = tmp_path / name
        np.save(path, array)
        return str(path)

    return save


# Ranges


@pytest.mark.parametrize("value_range", VALUE_RANGES)
def test_every_grey_level_survives_a_round_trip(value_range):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    floats = from_uint8(levels, value_range)
    assert floats.dtype == np.float32
    assert (floats.min(), floats.max()) == VALUE_RANGES[value_range]
    np.testing.assert_array_equal(to_uint8(floats, value_range), levels)


def test_rounding_is_half_to_even_and_overshoot_is_clipped():
    # 0.5 and 2.5 lie halfway: even neighbours 0 and 2; 1.5 goes to 2.
    values = np.array([0.5, 1.5, 2.5, -3.0, 300.0])
    assert to_uint8(values, "0..255").tolist() == [0, 2, 2, 0, 255]
    # -1..1: 0 is 127.5, whose even neighbour is 128.
    assert to_uint8(np.array([-1.0, 0.0, 1.0]), "-1..1").tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("low", "high", "bounds"),
    [(0.0, 1.0, (0, 1)), (0.0, 0.5, (0, 1)), (-0.2, 0.9, (-1, 1)), (0.0, 255.0, (0, 255))],
)
def test_float_ranges_are_inferred(low, high, bounds):
    images = np.linspace(low, high, 32, dtype=np.float32).reshape(2, 4, 4, 1)
    assert resolve_range(images, None, "set") == (bounds, True)


@pytest.mark.parametrize("high", [0.0, 1 / 300, 1.01, 16.0])
def test_a_range_that_cannot_be_told_is_asked_for(high):
    images = np.linspace(0, high, 16).reshape(1, 4, 4, 1)
    with pytest.raises(InputError, match=r"cannot be inferred.*'0\.\.1', '-1\.\.1', '0\.\.255'"):
        resolve_range(images, None, "set")


def test_values_outside_the_declared_range_name_the_first_image():
    images = np.zeros((5, 2, 2, 1), np.float32)
    images[3, 0, 0, 0], images[4, 1, 1, 0] = -0.25, 1.5
    with pytest.raises(
        InputError,
        match=r"photos: images outside the declared range: image 3 .*0\.\.1, found min -0\.25, "
        r"max 1\.5 .*'-1\.\.1'",
    ):
        resolve_range(images, "0..1", "photos")
    with pytest.raises(InputError, match="outside the inferred range: image 4"):
        resolve_range(images, None, "photos")


def test_nan_names_its_image():
    images = np.ones((4, 2, 2, 1), np.float32)
    images[2, 1, 1, 0] = np.nan
    with pytest.raises(InputError, match="set: image 2 has NaN"):
        resolve_range(images, "0..1", "set")
    with pytest.raises(InputError, match="image 2 has NaN"):
        to_uint8(images, "0..1")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, bool])
def test_binarised_integers_are_0_to_1(dtype, saved):
    """Read as 0..255 they would be black."""
    binary = np.array([[[[0], [1]]]], dtype)
    assert resolve_range(binary, None, "set") == ((0, 1), True)
    images = np.random.default_rng(0).integers(0, 2, (9, 4, 5)).astype(dtype)
    reference = open_reference(saved(images))
    np.testing.assert_array_equal(reference.read(0, 9)[..., 0], images.astype(np.uint8) * 255)
    assert "value range 0..1 inferred" in reference.notes[0]


def test_integers_of_few_levels_are_asked_about():
    few = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    with pytest.raises(InputError, match=r"max 15, which is black.*--reference-range 0\.\.255"):
        resolve_range(few, None, "set")
    assert resolve_range(few, "0..255", "set") == ((0, 255), False)


def test_integers_mean_0_to_255_unless_declared():
    binary = np.array([[[[0], [1]]]], np.int64)
    assert resolve_range(binary * 40, None, "set") == ((0, 255), True)
    assert resolve_range(binary.astype(np.uint8), "0..1", "set") == ((0, 1), False)
    with pytest.raises(InputError, match=r"image 0 is the first; expected values in 0\.\.255"):
        resolve_range(binary * 256, None, "set")
    with pytest.raises(InputError, match="outside the declared range"):
        resolve_range(binary.astype(np.uint8) * 9, "0..1", "set")


def test_grey_becomes_three_equal_channels():
    three = to_three_channels(GREY[..., None])
    assert three.shape == (2, 4, 5, 3)
    for channel in range(3):
        np.testing.assert_array_equal(three[..., channel], GREY)
    assert to_three_channels(three) is three
    with pytest.raises(InputError, match=r"\(2, 4, 5\)"):
        to_three_channels(GREY)


# Named sets


def test_digits_splits_are_disjoint_and_fixed():
    train, test, both = (open_reference("digits", split) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(both)) == (1000, 797, 1797)
    assert test.shape == (8, 8, 1)
    assert (test.source_range, test.range_inferred) == ((0.0, 16.0), False)
    joined = np.concatenate([train.read(0, 1000), test.read(0, 797)])
    np.testing.assert_array_equal(joined, both.read(0, 1797))
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), both.labels)


def test_digits_are_scaled_from_16_levels():
    from sklearn.datasets import load_digits

    both = open_reference("digits", "all")
    # 16 levels scale by 255/16 = 15.9375, so 1 -> 15.94 -> 16 and 8 -> 127.5 -> 128.
    first = np.random.RandomState(0).permutation(1797)[0]
    expected = np.rint(load_digits().images[first] * 15.9375)
    np.testing.assert_array_equal(both.read(0, 1)[0, ..., 0], expected)
    assert set(np.unique(both.read(0, 200))) <= {round(level * 15.9375) for level in range(17)}


def test_mnist_comes_from_the_keras_cache_without_keras(tmp_path, monkeypatch):
    (tmp_path / "datasets").mkdir()
    np.savez(
        tmp_path / "datasets" / "mnist.npz",
        x_train=np.full((3, 28, 28), 7, np.uint8),
        y_train=np.array([1, 2, 3], np.uint8),
        x_test=np.full((2, 28, 28), 9, np.uint8),
        y_test=np.array([4, 5], np.uint8),
    )
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    mnist = open_reference("mnist", "all")
    assert (mnist.name, mnist.split, mnist.shape) == ("mnist", "all", (28, 28, 1))
    assert mnist.labels.tolist() == [1, 2, 3, 4, 5]
    assert mnist.read(2, 4)[:, 0, 0, 0].tolist() == [7, 9]


def test_a_failed_download_says_what_to_do_offline(monkeypatch):
    keras = pytest.importorskip("keras")

    def unreachable():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", unreachable)
    with pytest.raises(InputError, match=r"'fashion_mnist'.*URL fetch failure.*Without a network"):
        open_reference("fashion_mnist")


def test_a_driver_opens_a_set_without_tensorflow():
    code = (
        "import sys; import vae_batch.models.references.reference as r\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert len(r.open_reference('digits')) == 797\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_unknown_sources_name_the_nearest_and_all_kinds():
    with pytest.raises(
        InputError, match=r"'minst'.*did you mean 'mnist'\? Named sets: digits, mnist.*\.parquet"
    ):
        open_reference("minst")
    with pytest.raises(InputError, match=r"split 'valid'.*train, test, all"):
        open_reference("digits", "valid")
    with pytest.raises(InputError, match=r"value_range '0\.\.2'"):
        open_reference("digits", value_range="0..2")


def test_limit_takes_the_first_images():
    digits = open_reference("digits", limit=10)
    assert len(digits) == len(digits.labels) == 10
    np.testing.assert_array_equal(digits.read(0, 10), open_reference("digits").read(0, 10))
    with pytest.raises(IndexError, match=r"\[5, 11\)"):
        digits.read(5, 11)
    with pytest.raises(InputError, match=r"798 reference images were asked for.*has 797"):
        open_reference("digits", limit=798)


# NumPy files


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 5, 1)])
def test_npy_of_grey_images(saved, shape):
    reference = open_reference(saved(GREY.reshape(shape)))
    assert (reference.shape, reference.split, reference.labels) == ((4, 5, 1), "all", None)
    np.testing.assert_array_equal(reference.read(1, 2)[0, ..., 0], GREY[1])
    assert reference.read(1, 1).shape == (0, 4, 5, 1)


def test_npy_of_floats_is_read_as_uint8(saved):
    path = saved((GREY / 255.0).astype(np.float32))
    reference = open_reference(path)
    assert (reference.source_range, reference.range_inferred) == ((0.0, 1.0), True)
    assert not open_reference(path, value_range="0..1").range_inferred
    np.testing.assert_array_equal(reference.read(0, 2)[..., 0], GREY)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 8, 8), r"channels first.*transpose\(0, 2, 3, 1\)"),
        ((2, 1, 8, 8), "channels first"),
        ((2, 8, 8, 4), r"alpha channel.*images\[\.\.\., :3\]"),
        ((2, 8, 8, 2), r"expected \(n, H, W\)"),
        ((8, 8), r"shape \(8, 8\)"),
        ((0, 8, 8), "there are none"),
    ],
)
def test_shapes_that_are_refused(saved, shape, message):
    with pytest.raises(InputError, match=message):
        open_reference(saved(np.zeros(shape, np.uint8)))


def written(folder, name, content):
    """A file of an array, of several arrays, or of an image."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix == ".npy":
        np.save(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else png(content))
    return str(path)


LEVELS = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
PALE = np.linspace(0, 16, 16).reshape(1, 4, 4, 1)
RGBA = LEVELS[0, [0, 1, 2, 0]].transpose(1, 2, 0)


def transparent():
    buffer = io.BytesIO()
    Image.fromarray(LEVELS[0, 0]).save(buffer, "png", transparency=0)
    return buffer.getvalue()


def converted(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA").convert("RGB"))


@pytest.mark.parametrize(
    ("name", "content", "given", "words", "then", "given_then"),
    [
        ("a.npy", PALE, {}, "declare it with --reference-range: ", None,
         {"value_range": "0..255"}),
        ("a.npy", PALE.astype(np.uint8), {}, "--reference-range 0..255", None,
         {"value_range": "0..255"}),
        ("a.npy", PALE.astype(np.uint8), {}, "scale them to 0..255",
         (PALE * 255 / 16).astype(np.uint8), {}),
        ("a.npy", LEVELS, {}, "save images.transpose(0, 2, 3, 1)",
         LEVELS.transpose(0, 2, 3, 1), {}),
        ("a.npy", RGBA[None], {}, "save images[..., :3]", RGBA[None, ..., :3], {}),
        ("a.npy", np.array([{"a": 1}], object), {}, "numpy.save as plain numbers", GREY, {}),
        ("a.npz", {"images": GREY, "labels": [7, -1]}, {}, "number the classes from 0",
         {"images": GREY, "labels": [1, 0]}, {}),
        ("a.npz", {"images": GREY, "labels": [7, -1]}, {}, "or give the images without labels",
         {"images": GREY}, {}),
        ("a.npz", {"images": GREY, "labels": [[1, 1], [0, 1]]}, {},
         "save class numbers of shape (n,)", {"images": GREY, "labels": [0, 1]}, {}),
        ("a.npz", {"pictures": GREY}, {}, "or one array named images", {"images": GREY}, {}),
        ("a.npz", {"x_train": GREY}, {}, "needs an array x_test",
         {"x_train": GREY, "x_test": GREY}, {}),
        ("a.npy", np.where(GREY == 0, np.nan, GREY / 255), {}, "remove the image or repair it",
         np.nan_to_num(GREY / 255), {}),
        ("f/a.png", RGBA, {}, "8-bit grey or RGB without alpha: convert it", RGBA[..., :3], {}),
        ("f/a.png", transparent(), {}, "image.convert('RGBA').convert('RGB')",
         converted(transparent()), {}),
        ("f/a.png", LEVELS[0].transpose(1, 2, 0), {"colours": "grey"},
         "leave out --reference-colours grey", None, {"colours": None}),
        ("f/a.png", LEVELS[0, 0], {"value_range": "-1..1"}, "leave it out", None,
         {"value_range": None}),
        ("f/a.png", b"", {}, "replace or remove it", LEVELS[0, 0], {}),
    ],
)  # fmt: skip
def test_the_remedy_of_a_refusal_works(tmp_path, name, content, given, words, then, given_then):
    path = written(tmp_path, name, content)
    source = path if "/" not in name else str(tmp_path / "f")
    with pytest.raises(InputError, match=re.escape(words)):
        read_all(source, **given)
    written(tmp_path, name, content if then is None else then)
    assert read_all(source, **{**given, **given_then}).dtype == np.uint8


def read_all(source, **given):
    reference = open_reference(source, **given)
    return reference.read(0, len(reference))


def test_npz_in_the_keras_layout(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x_train=GREY, y_train=[0, 1], x_test=GREY[:1], y_test=[[2]])
    assert len(open_reference(str(path), "train")) == 2
    assert open_reference(str(path), "test").labels.tolist() == [2]
    assert open_reference(str(path), "all").labels.tolist() == [0, 1, 2]
    np.savez(path, x_train=GREY)
    with pytest.raises(InputError, match="split 'test' needs an array x_test; the file has x_tr"):
        open_reference(str(path), "test")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 2, 1], [0, 2, 1]),
        ([0.0, 2.0, 1.0], [0, 2, 1]),
        ([[0], [2], [1]], [0, 2, 1]),
        (np.eye(4)[[3, 0, 1]], [3, 0, 1]),
        (np.eye(4, dtype=bool)[[3, 0, 1]], [3, 0, 1]),
        (["dog", "cat", "dog"], [1, 0, 1]),
    ],
)
def test_labels_of_every_kind(tmp_path, labels, expected):
    path = tmp_path / "set.npz"
    np.savez(path, images=np.full((3, 4, 5), 99, np.uint8), labels=labels)
    reference = open_reference(str(path))
    assert reference.labels.tolist() == expected
    numbered = "label names are numbered in sorted order: 0 = cat, 1 = dog"
    assert any(numbered in note for note in reference.notes) == isinstance(labels[0], str)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 7.5, 1], "label 1 is 7.5; expected classes numbered 0, 1, 2"),
        ([0, 1, -1], "label 2 is -1"),
        ([0, np.nan, 1], "label 1 is nan"),
        ([[1, 1], [0, 1], [1, 0]], "not one-hot"),
        ([[0.9, 0.1], [0, 1], [1, 0]], "not one-hot"),
        ([0, 1], r"3 images but labels of shape \(2,\)"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, labels, message):
    path = tmp_path / "set.npz"
    np.savez(path, images=np.full((3, 4, 5), 99, np.uint8), labels=labels)
    with pytest.raises(InputError, match=message):
        open_reference(str(path))


def test_npz_with_one_array(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, GREY)
    assert open_reference(str(path), "test").split == "all"
    np.savez(path, images=GREY, labels=[0, 1, 2])
    with pytest.raises(InputError, match=r"2 images but labels of shape \(3,\)"):
        open_reference(str(path))
    np.savez(path, pictures=GREY)
    with pytest.raises(InputError, match="images, arr_0, x; the file has pictures"):
        open_reference(str(path))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_and_damaged_numpy_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"set{suffix}"
    save = np.save if suffix == ".npy" else np.savez
    save(path, np.array([{"a": 1}], object))
    with pytest.raises(InputError, match="pickled Python objects, which are never loaded"):
        open_reference(str(path))
    save(path, GREY)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(InputError, match="cannot be read as a NumPy file"):
        open_reference(str(path))


# Image files


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    (images / "b").mkdir(parents=True)
    (images / "b" / "1.png").write_bytes(png(GREY[0]))
    (images / "a.PNG").write_bytes(png(GREY[1]))
    (images / "._a.png").write_bytes(b"left by an archiver")
    (images / "notes.txt").write_text("not an image")
    return images


def test_folder_is_sorted_by_relative_path(folder):
    reference = open_reference(str(folder))
    assert (len(reference), reference.shape, reference.split) == (2, (4, 5, 1), "all")
    np.testing.assert_array_equal(reference.read(0, 2)[..., 0], GREY[::-1])


def test_one_colour_image_makes_the_folder_colour(folder):
    colour = np.zeros((4, 5, 3), np.uint8)
    colour[..., 2] = 50
    (folder / "c.png").write_bytes(png(colour))
    reference = open_reference(str(folder))
    assert reference.shape == (4, 5, 3)
    np.testing.assert_array_equal(reference.read(2, 3)[0], colour)
    np.testing.assert_array_equal(reference.read(0, 1)[0, ..., 1], GREY[1])


def test_links_are_followed_once_and_broken_ones_fail(folder, tmp_path):
    """Class folders that are links, a circle, and a second name of an image."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("one", "two"):
        (linked / name).symlink_to(folder if name == "one" else linked)
    first = open_reference(str(folder)).read(0, 1)
    count = len(open_reference(str(folder)))
    target = next(p for p in sorted(folder.rglob("*.png")) if not p.name.startswith("."))
    (linked / "again.png").symlink_to(target)
    (linked / "notes.txt").write_text("no image")
    reference = open_reference(str(linked))
    assert len(reference) == count
    np.testing.assert_array_equal(reference.read(0, 1), first)
    assert "2 files with .txt, 2 paths that links lead to again" in reference.notes[0]
    (linked / "class3").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"1 broken link, such as class3"):
        open_reference(str(linked))


def test_colours_of_grey_images_are_taken_as_declared(tmp_path):
    """Grey images that were saved in colour or with a palette, and grey ones for colour models."""
    grey = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    for number, image in enumerate(grey):
        shown = Image.fromarray(image).convert("P" if number else "RGB")
        shown.save(tmp_path / f"{number}.png")
    assert open_reference(str(tmp_path)).shape == (4, 5, 3)
    reference = open_reference(str(tmp_path), colours="grey")
    assert reference.shape == (4, 5, 1)
    np.testing.assert_array_equal(reference.read(0, 3)[..., 0], grey)
    np.save(tmp_path / "grey.npy", grey)
    colour = open_reference(str(tmp_path / "grey.npy"), colours="rgb")
    assert colour.shape == (4, 5, 3)
    np.testing.assert_array_equal(colour.read(0, 3), grey[..., None].repeat(3, axis=-1))
    Image.fromarray(np.full((4, 5, 3), (9, 8, 7), np.uint8)).save(tmp_path / "2.png")
    with pytest.raises(InputError, match=r"image 2 has unequal channels"):
        open_reference(str(tmp_path), colours="grey").read(1, 3)


def test_transparent_grey_is_named_so(tmp_path):
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.png", transparency=0)
    with pytest.raises(InputError, match=r"a\.png marks a colour as transparent"):
        open_reference(str(tmp_path))


def test_sizes_that_differ_name_two_files(folder):
    (folder / "b" / "2.png").write_bytes(png(GREY[0].T.copy()))
    with pytest.raises(InputError, match=r"a\.PNG is 5x4, b/2\.png is 4x5"):
        open_reference(str(folder))


def test_a_truncated_file_is_named_when_it_is_read(folder):
    path = folder / "b" / "2.png"
    noise = np.random.default_rng(0).integers(0, 256, (4, 5), np.uint8)
    path.write_bytes(png(noise)[:50])
    reference = open_reference(str(folder))
    assert reference.read(0, 2).shape == (2, 4, 5, 1)
    with pytest.raises(InputError, match=r"b/2\.png is truncated or damaged"):
        reference.read(0, 3)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"b/2\.png cannot be read"):
        open_reference(str(folder))


@pytest.mark.parametrize("array", [np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5), np.uint16)])
def test_alpha_and_16_bit_files_are_refused(folder, array):
    (folder / "odd.png").write_bytes(png(array))
    with pytest.raises(InputError, match=r"odd\.png has mode .*8-bit grey or RGB without alpha"):
        open_reference(str(folder))


def test_folder_without_images_and_a_declared_range_are_refused(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no images in this folder; expected files ending in \.p"):
        open_reference(str(empty))
    with pytest.raises(InputError, match="leave it out"):
        open_reference(str(folder), value_range="-1..1")


def test_binarised_images_in_files_are_declared(tmp_path):
    """A file of 0 and 1 would be black; whether it is black or binarised only the user knows."""
    binary = np.random.default_rng(0).integers(0, 2, (2, 4, 5), dtype=np.uint8)
    for number, image in enumerate(binary):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    reference = open_reference(str(tmp_path), value_range="0..1")
    np.testing.assert_array_equal(reference.read(0, 2)[..., 0], binary * 255)
    Image.fromarray(binary[0] * 9).save(tmp_path / "0.png")
    with pytest.raises(InputError, match=r"image 0\.png has the value 9, outside the declared"):
        open_reference(str(tmp_path), value_range="0..1").read(0, 1)


@pytest.mark.parametrize("struct", [True, False])
def test_parquet_with_an_image_column(tmp_path, struct):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    encoded = [png(image) for image in GREY]
    column = [{"bytes": item, "path": None} for item in encoded] if struct else encoded
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"image": column, "label": [3, 1]}), path)
    reference = open_reference(str(path))
    assert (reference.shape, reference.labels.tolist()) == ((4, 5, 1), [3, 1])
    np.testing.assert_array_equal(reference.read(0, 2)[..., 0], GREY)


def test_parquet_that_cannot_serve_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"label": [1], "name": ["x"]}), path)
    with pytest.raises(InputError, match=r"expected one column of encoded images.*label, name"):
        open_reference(str(path))
    rows = [{"bytes": png(GREY[0]), "path": "a"}, {"bytes": None, "path": "b"}]
    pq.write_table(pa.table({"image": rows}), path)
    with pytest.raises(InputError, match="row 1: column 'image' holds no bytes"):
        open_reference(str(path))
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        open_reference(str(path))
