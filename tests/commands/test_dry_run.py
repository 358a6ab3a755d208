"""``vae-batch score --dry-run``: what a run would do, which it then does; nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from vae_batch.cli import app
from vae_batch.run.progress.progress_file import PROGRESS_FILE, read_progress
from vae_batch.storage import Store


def call(settings: dict[str, Any], tmp_path: Path, *words: str) -> Result:
    spec = tmp_path / "spec.toml"
    spec.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()))
    return CliRunner().invoke(app, ["score", str(spec), *words])


def dry(settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    found = call(settings, tmp_path, "--dry-run", "--json")
    assert found.exit_code == 0, found.stderr
    return json.loads(found.stdout)


def test_what_is_planned_is_what_is_done(toy_settings: dict[str, Any], tmp_path: Path) -> None:
    """Of 3 checkpoints, 150 samples and 100 reference images in shards of 64.

    A checkpoint has a description, a gallery, 2 shards of losses and 3 of generated samples; the
    reference has 2 of activations and 2 of images, which the driver writes.
    """
    settings = toy_settings | {"metrics": "losses,fid"}
    out = Path(settings["out"])
    planned = dry(settings, tmp_path)
    assert not out.exists(), "a dry run writes nothing"
    counts = {line["kind"]: (line["shards"], line["images"]) for line in planned["work"]}
    assert counts == {
        "images": (2, 100),
        "reference": (2, 100),
        "description": (3, 3),
        "gallery": (3, 3),
        "losses": (6, 300),
        "generated": (9, 450),
    }
    assert (planned["rows"], planned["open_rows"], planned["shards_done"]) == (3, 3, 0)
    # A reduction of the reference and of each checkpoint, and three scores.
    assert planned["tasks"]["count"] == 7
    assert planned["seconds"] > 0
    assert planned["images"] == 850, "a description is no image"
    assert {line["rate"] for line in planned["work"]} == {"defaults"}

    scored = call(settings, tmp_path)
    assert scored.exit_code == 0, scored.stderr
    assert "computed: 850 images" in scored.stderr
    assert "phases: plan" in scored.stderr
    last = read_progress(Store.open(str(out)))
    assert last is not None
    work = last.snapshot.work
    done = {one.kind: (one.count, one.images) for one in work if one.device}
    assert done == {kind: count for kind, count in counts.items() if kind != "images"}
    assert {one.kind: one.count for one in work if not one.device} == {"reductions": 4, "scores": 3}
    assert list(last.snapshot.phases) == ["plan", "start", "work", "compare", "report"]
    assert last.snapshot.workers == 0
    assert sum(one.size for one in work) == sum(
        path.stat().st_size
        for path in out.rglob("part-0*")
        if "receipt" not in path.name and "uint8" not in str(path)
    )

    again = dry(settings, tmp_path)
    assert (again["open_rows"], again["shards"], again["seconds"]) == (0, 0, 0.0)
    assert again["last_run"]["work"][0]["kind"] == work[0].kind
    written = (out / PROGRESS_FILE).read_bytes()
    assert call(settings, tmp_path).exit_code == 0
    assert (out / PROGRESS_FILE).read_bytes() == written, "a run that did nothing writes none"


def test_rates_of_what_is_there_serve_for_what_is_new(
    toy_settings: dict[str, Any], toy_folder: Path, tmp_path: Path
) -> None:
    first, *_ = sorted(map(str, (toy_folder / "runs").iterdir()))
    settings = toy_settings | {"metrics": "losses,fid"}
    assert call(settings | {"checkpoints": [first]}, tmp_path).exit_code == 0
    found = call(settings, tmp_path, "--dry-run")
    assert found.exit_code == 0, found.stderr
    assert "2 of 3 rows to score" in found.stdout
    assert "generated activations" in found.stdout
    assert "measured" in found.stdout
    assert "the last run here took" in found.stdout
    lines = {line["kind"]: line for line in dry(settings, tmp_path)["work"]}
    assert {line["rate"] for line in lines.values()} == {"receipts"}
    assert {kind: line["shards"] for kind, line in lines.items()} == {
        **{"description": 2, "gallery": 2, "losses": 4, "generated": 6}
    }


def test_a_dry_run_refuses_what_the_run_would(toy_settings: dict[str, Any], tmp_path: Path) -> None:
    wrong = call(toy_settings | {"reference": "mnits"}, tmp_path, "--dry-run")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "mnits" in wrong.stderr
    settings = toy_settings | {"metrics": "losses"}
    assert call(settings, tmp_path).exit_code == 0
    other = call(settings | {"samples": 200}, tmp_path, "--dry-run")
    assert other.exit_code == 2
    assert "belongs to another run" in other.stderr
