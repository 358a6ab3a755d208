from __future__ import annotations

from pathlib import Path

import pytest

from vae_batch.models.checkpoints import find_checkpoints, read_step
from vae_batch.plan import InputError


def touch(path: Path, content: str = "x") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return str(path)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for step in (2, 10, 1):
        touch(tmp_path / f"a/step-{step}/encoder.keras", f"e{step}")
        touch(tmp_path / f"a/step-{step}/decoder.keras", f"d{step}")
    touch(tmp_path / "b/epoch=7.keras")
    touch(tmp_path / "c/vae-encoder.keras")
    touch(tmp_path / "c/vae-decoder.keras")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a/step-1", "a/step-2", "a/step-10"]),  # by step, not by name
        ("a/*", ["a/step-1", "a/step-2", "a/step-10"]),
        ("a/step-2", ["a/step-2"]),
        ("a/*/encoder.keras", ["a/step-1", "a/step-2", "a/step-10"]),
        ("a/step-1?", ["a/step-10"]),
        ("b/*.keras", ["b/epoch=7.keras"]),
        ("b/epoch=7.keras", ["b/epoch=7.keras"]),
        ("c/vae", ["c/vae"]),
        ("**/*.keras", ["a/step-1", "a/step-2", "b/epoch=7.keras", "a/step-10", "c/vae"]),
    ],
)
def test_patterns(runs: Path, pattern: str, expected: list[str]) -> None:
    found = find_checkpoints([str(runs / pattern)])
    assert [c.label.removeprefix(f"{runs}/") for c in found] == expected


def test_uris_match_as_paths_do(runs: Path) -> None:
    found = find_checkpoints([f"{runs.as_uri()}/a/*"])
    assert [(c.step, sorted(dict(c.files))) for c in found] == [
        (step, ["decoder", "encoder"]) for step in (1, 2, 10)
    ]
    assert [c.sha256 for c in found] == [c.sha256 for c in find_checkpoints([str(runs / "a")])]


def test_one_checkpoint_named_twice_is_one(runs: Path) -> None:
    assert len(find_checkpoints([str(runs / "a"), str(runs / "a/step-2")])) == 3


def test_a_half_is_found_so_that_it_can_be_reported(runs: Path) -> None:
    (runs / "a/step-2/decoder.keras").unlink()
    (half,) = find_checkpoints([str(runs / "a/step-2")])
    assert dict(half.files).keys() == {"encoder"}


def test_hash_is_of_content_not_of_place(runs: Path) -> None:
    (before,) = find_checkpoints([str(runs / "a/step-2")])
    (runs / "a/step-2").rename(runs / "a/step-3")
    (moved,) = find_checkpoints([str(runs / "a/step-3")])
    assert moved.sha256 == before.sha256
    touch(runs / "a/step-3/decoder.keras", "other")
    assert find_checkpoints([str(runs / "a/step-3")])[0].sha256 != before.sha256


def test_nothing_found_says_what_is_there(runs: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint matches .*holds epoch=7.keras"):
        find_checkpoints([str(runs / "b/*.h5")])


@pytest.mark.parametrize(
    ("label", "step"),
    [
        ("runs/a/step-0030", 30),
        ("runs/vae2/epoch=3.keras", 3),
        ("runs/vae2/ckpt_12_loss_0.5.keras", 12),
        ("runs/17/model.keras", 17),
        ("model-00100.keras", 100),
        ("runs/final.keras", None),
    ],
)
def test_steps_are_read_from_names(label: str, step: int | None) -> None:
    assert read_step(label) == step
