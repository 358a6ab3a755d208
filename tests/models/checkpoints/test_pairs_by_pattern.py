"""Halves paired by two patterns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.models.checkpoint_files import touch_all

from vae_batch.models.checkpoints import find_checkpoints
from vae_batch.plan import InputError


def pairs(
    folder: Path, encoder: str | None, decoder: str | None, *patterns: str
) -> dict[str, tuple[int | None, str | None, str | None]]:
    """Label to (step, encoder, decoder), all without the folder."""
    found = find_checkpoints(
        [str(folder / pattern) for pattern in patterns],
        None if encoder is None else str(folder / encoder),
        None if decoder is None else str(folder / decoder),
    )
    files = [{role: path.removeprefix(f"{folder}/") for role, path in c.files} for c in found]
    return {
        c.label.removeprefix(f"{folder}/"): (c.step, f.get("encoder"), f.get("decoder"))
        for c, f in zip(found, files, strict=True)
    }


def test_wildcards_and_step_pair_the_halves(tmp_path: Path) -> None:
    touch_all(tmp_path, "a/enc-3.keras a/dec-3.keras b/enc-3.keras b/dec-003.keras")
    touch_all(tmp_path, "a/enc-20.keras a/dec-20.keras a/enc-last.keras")
    assert pairs(tmp_path, "*/enc-{step}.keras", "*/dec-{step}.keras") == {
        "a/3": (3, "a/enc-3.keras", "a/dec-3.keras"),
        "b/{enc-3,dec-003}.keras": (3, "b/enc-3.keras", "b/dec-003.keras"),
        "a/20": (20, "a/enc-20.keras", "a/dec-20.keras"),
    }


def test_halves_in_two_folders_are_called_by_the_encoders(tmp_path: Path) -> None:
    """Where that is another checkpoint's label too, the full one stands."""
    touch_all(tmp_path, "runs/a/enc-1.h5 models/a/dec-1.h5 runs/b/enc-1.h5 models/b/dec-1.h5")
    assert pairs(tmp_path, "runs/*/enc-{step}.h5", "models/*/dec-{step}.h5") == {
        "runs/a/1": (1, "runs/a/enc-1.h5", "models/a/dec-1.h5"),
        "runs/b/1": (1, "runs/b/enc-1.h5", "models/b/dec-1.h5"),
    }
    touch_all(tmp_path, "runs/a/enc-1.keras runs/a/dec-1.keras")
    found = pairs(tmp_path, "runs/a/enc-{step}.h5", "models/a/dec-{step}.h5", "runs/a")
    assert set(found) == {"{runs/a/enc,models/a/dec}-1.h5", "runs/a/{enc,dec}-1.keras"}


def test_any_names_pair(tmp_path: Path) -> None:
    touch_all(tmp_path, "e/3.h5 d/3.h5 e/x/4.h5 d/x/4.h5 q-1.keras p-1.keras")
    assert pairs(tmp_path, "e/**/{step}.h5", "d/**/{step}.h5") == {
        "{e,d}/3.h5": (3, "e/3.h5", "d/3.h5"),
        "{e,d}/x/4.h5": (4, "e/x/4.h5", "d/x/4.h5"),
    }
    assert pairs(tmp_path, "q-?.keras", "p-?.keras") == {
        "{q,p}-1.keras": (1, "q-1.keras", "p-1.keras")
    }
    assert pairs(tmp_path, "q-1.keras", "e/3.h5") == {
        "{q-1.keras,e/3.h5}": (3, "q-1.keras", "e/3.h5")
    }


def test_one_pattern_gives_parts_alone(tmp_path: Path) -> None:
    touch_all(tmp_path, "dec-3.keras dec-4.keras enc-3.keras")
    assert pairs(tmp_path, None, "dec-{step}.keras") == {
        "3": (3, None, "dec-3.keras"),
        "4": (4, None, "dec-4.keras"),
    }
    assert pairs(tmp_path, "enc-*", None) == {"3": (3, "enc-3.keras", None)}


def test_a_half_without_a_partner_stays(tmp_path: Path) -> None:
    touch_all(tmp_path, "enc-3.keras dec-3.keras enc-4.keras dec-5.keras")
    assert pairs(tmp_path, "enc-{step}.keras", "dec-{step}.keras") == {
        "3": (3, "enc-3.keras", "dec-3.keras"),
        "4": (4, "enc-4.keras", None),
        "5": (5, None, "dec-5.keras"),
    }


def test_saved_model_folders_pair(tmp_path: Path) -> None:
    touch_all(tmp_path, "e/3/saved_model.pb d/3/saved_model.pb e/3/variables/v.index")
    expected = {"{e,d}/3": (3, "e/3", "d/3")}
    assert pairs(tmp_path, "e/{step}", "d/{step}") == expected
    assert pairs(tmp_path, "e/*", "d/*") == expected


def test_files_are_in_one_checkpoint_each(tmp_path: Path) -> None:
    touch_all(tmp_path, "e/3.keras d/3.keras e/4.keras vae.keras enc-9.keras dec-9.keras")
    assert pairs(tmp_path, "e/{step}.keras", "d/{step}.keras", "") == {
        "{e,d}/3.keras": (3, "e/3.keras", "d/3.keras"),
        "e/4.keras": (4, "e/4.keras", None),
        "9": (9, "enc-9.keras", "dec-9.keras"),
        "vae.keras": (None, None, None),  # the model role
    }
    # The encoder pattern alone does not take dec-9's partner away.
    assert pairs(tmp_path, "enc-{step}.keras", None, "enc-*", "dec-*") == {
        "9": (9, "enc-9.keras", "dec-9.keras")
    }


def test_uris_pair(tmp_path: Path) -> None:
    touch_all(tmp_path / "r 1", "enc-3.keras dec-3.keras")
    root = tmp_path.as_uri()
    (found,) = find_checkpoints([], f"{root}/*/enc-{{step}}.keras", f"{root}/*/dec-{{step}}.keras")
    assert (found.label, found.step) == (f"file://{tmp_path}/r 1/3", 3)
    assert dict(found.files)["encoder"] == f"{root}/r%201/enc-3.keras"


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        ("*/enc-{step}.keras", "a/dec-{step}.keras", r"wildcards \* \{step\} but .*wildcards \{s"),
        ("a/enc-3.keras", "a/dec-{step}.keras", r"has no wildcard but .* the wildcards \{step\}"),
        ("**/enc-{step}.keras", "*/dec-{step}.keras", r"\*\*/ \{step\} but .* \* \{step\}"),
        ("a/enc-{epoch}.keras", "a/dec-{epoch}.keras", r"holds \{epoch\}"),
        ("a/enc-{step}.keras", "a/dek-{step}.keras", "no decoder matches .*dek-.*holds dec-3.ker"),
        ("a/*", "a/*", "both match .*a/dec-3.keras"),
    ],
)
def test_misuse_is_named(tmp_path: Path, encoder: str, decoder: str, message: str) -> None:
    touch_all(tmp_path, "a/enc-3.keras a/dec-3.keras")
    with pytest.raises(InputError, match=message):
        pairs(tmp_path, encoder, decoder)


@pytest.mark.parametrize(
    ("names", "given", "words", "then", "paired"),
    [
        (
            "a/enc-3.keras a/dec-3.keras",
            ("*/enc-{step}.keras", "a/dec-{step}.keras"),
            "write the same ones in the same order in both patterns",
            ("*/enc-{step}.keras", "*/dec-{step}.keras"),
            [("decoder", "encoder")],
        ),
        (
            "a/enc-3.keras a/dec-3.keras",
            ("a/enc-{epoch}.keras", "a/dec-{epoch}.keras"),
            "write {step} for the training step and * for any other part",
            ("a/enc-{step}.keras", "a/dec-{step}.keras"),
            [("decoder", "encoder")],
        ),
        (
            "enc-3.keras enc-03.keras dec-3.keras dec-03.keras",
            ("enc-{step}.keras", "dec-{step}.keras"),
            "write * or {step} where their names differ",
            ("enc-*.keras", "dec-*.keras"),
            [("decoder", "encoder")] * 2,
        ),
        (
            "a/vae.keras",
            ("a/*", "a/*"),
            "name a file that holds both halves in checkpoints, without these patterns",
            ["a/vae.keras"],
            [("model",)],
        ),
    ],
)
def test_the_remedy_of_a_refusal_works(
    tmp_path: Path, names: str, given: tuple[str, str], words: str, then: Any, paired: Any
) -> None:
    touch_all(tmp_path, names)
    with pytest.raises(InputError, match=re.escape(words)):
        find_checkpoints([], *(str(tmp_path / pattern) for pattern in given))
    found = [str(tmp_path / pattern) for pattern in then]
    both = find_checkpoints(found) if isinstance(then, list) else find_checkpoints([], *found)
    assert [tuple(sorted(dict(each.files))) for each in both] == paired


def test_two_files_of_one_key_are_named(tmp_path: Path) -> None:
    touch_all(tmp_path, "enc-3.keras enc-03.keras dec-3.keras")
    with pytest.raises(InputError, match=r"enc-03.keras and \S+enc-3.keras with the same wildcard"):
        pairs(tmp_path, "enc-{step}.keras", "dec-{step}.keras")
