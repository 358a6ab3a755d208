"""A flipped bit in the stored reference images: they are stored again, and no checkpoint fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.runs.serial_runs import files_of, score
from support.stores.score_rows import numbers


def test_damaged_reference_images_are_stored_again(toy_settings: dict[str, Any]) -> None:
    settings, out = toy_settings | {"metrics": "losses,fid"}, Path(toy_settings["out"])
    first = score(settings)
    assert first.faults == {}
    (images, _) = sorted(out.glob("reference/images-*/uint8-*/part-0*.parquet"))
    good = images.read_bytes()
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 4
    images.write_bytes(damaged)
    # One checkpoint's first losses are missing, so that the images are read again.
    folder = sorted(out.glob("losses/checkpoint=step-0002*"))[0]
    sorted(folder.glob("part-0*.receipt.json"))[0].unlink()
    (out / "scores.parquet").unlink()
    before = files_of(out)

    again = score(settings)
    assert numbers(again.rows) == numbers(first.rows)
    assert images.read_bytes() == good
    assert again.faults == {"damaged files made again": 1}
    assert again.shards_computed == 1
    now = files_of(out)
    changed = {name for name in before if now[name] != before[name] and "/part-0" in name}
    assert {Path(name).parent for name in changed} == {
        images.parent.relative_to(out),
        folder.relative_to(out),
    }
