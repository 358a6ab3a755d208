"""Files that are no usable models, each with words of the reason for which its row fails."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

LFS_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 12345678\n"
)
WEB_PAGE = "<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"


def torch_file(path: Path) -> None:
    """As torch.save writes it: a zip around a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"weight": [1.0]}))
        archive.writestr("model/version", "3\n")


def classifier(path: Path) -> None:
    from support.models.toy_models import save_classifier

    save_classifier(path)


def truncated(path: Path) -> None:
    from support.models.toy_models import save_single

    save_single(path, seed=1)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def truncated_hdf5(path: Path) -> None:
    from support.models.toy_models import make_decoder

    make_decoder(1).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def diverged(path: Path) -> None:
    import numpy as np
    from support.models.toy_models import make_decoder

    decoder = make_decoder(1)
    decoder.set_weights([np.full_like(weight, np.nan) for weight in decoder.get_weights()])
    decoder.save(path)


#: File name to its maker and to what the reason says: what it is, and what to do.
BROKEN: dict[str, tuple[Callable[[Path], object], tuple[str, str]]] = {
    "pointer.keras": (
        lambda path: path.write_text(LFS_POINTER),
        ("is a Git LFS pointer, not the file of 12,345,678 bytes", "run git lfs pull"),
    ),
    "page.h5": (
        lambda path: path.write_text(WEB_PAGE),
        ("is a web page, not a model", "download the file again"),
    ),
    "empty.keras": (
        Path.touch,
        ("is an empty file of 0 bytes", "encoder.keras and decoder.keras in one folder"),
    ),
    "cut.keras": (truncated, ("it is truncated or damaged", "save or copy it again")),
    "cut.h5": (truncated_hdf5, ("it is truncated", "save or copy it again")),
    "pickled.keras": (
        lambda path: path.write_bytes(pickle.dumps({"vae": [1.0] * 9})),
        ("is a pickle; a pickle runs code when it is opened, so it is refused", "model.save("),
    ),
    "torch.keras": (torch_file, ("is a PyTorch file", "model.save(")),
    "config.keras": (
        lambda path: path.write_text(json.dumps({"class_name": "Functional", "config": {}})),
        ("is the JSON of a model's architecture, without weights", "model.save("),
    ),
    "classifier.keras": (
        classifier,
        ("is no part of an autoencoder of (8, 8, 1) images", "name the model's layers encoder"),
    ),
    "diverged.keras": (diverged, ("holds NaN or infinity", "score an earlier checkpoint")),
}
