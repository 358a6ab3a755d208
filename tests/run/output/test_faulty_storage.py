"""Whole runs on an object store that fails: the same bits in the end, or a sentence in time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.runs.serial_runs import score, settings_of
from support.stores import score_rows
from support.stores.faulty_s3 import FaultyS3, local_s3, make_bucket, start
from support.stores.score_rows import score_row
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.plan import InputError, make_spec
from vae_batch.run.execute.executor import SerialExecutor
from vae_batch.run.execute.score_run import RunSummary, run
from vae_batch.run.output.verify import verify_output
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store, read_score_rows, upsert_scores
from vae_batch.storage.retry import Retries

#: Of all requests, a quarter meets one of these.
RATES = {
    "500": 0.03, "503": 0.03, "reset": 0.03, "lost": 0.02, "truncated": 0.03, "short": 0.04,
    "missing": 0.03, "stale": 0.04, "hang": 0.005,
}  # fmt: skip


@pytest.fixture(scope="module")
def server(toy_folder: Path) -> Iterator[str]:
    pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")
    with local_s3() as address:
        filesystem = make_bucket(address, "runs")
        for path in toy_folder.rglob("*.keras"):
            name = path.relative_to(toy_folder).as_posix()
            with filesystem.open_output_stream(f"runs/{name}") as stream:
                stream.write(path.read_bytes())
        yield address


@pytest.fixture
def faulty(server: str, request: pytest.FixtureRequest) -> Iterator[FaultyS3]:
    """Spoils nothing yet."""
    proxy = start(server, seed=3)
    yield proxy
    proxy.stop()


def settings(faulty: FaultyS3, name: str) -> dict[str, Any]:
    return {
        **settings_of([faulty.uri("runs/runs/step-0001")], Path("x"), Path("x")),
        "extractors": [faulty.uri("runs/classifier.keras")],
        "out": faulty.uri(f"runs/out/{name}"),
    }


def numbers(summary: RunSummary) -> list[dict[str, Any]]:
    """Rows without times and places; a fingerprint holds the checkpoint's path."""
    return score_rows.numbers(summary.rows, "checkpoint", "fingerprint")


@pytest.fixture(scope="module")
def local(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The numbers of the same run on local files."""
    out = tmp_path_factory.mktemp("local") / "out"
    checkpoints = [str(toy_folder / "runs/step-0001")]
    return numbers(score(settings_of(checkpoints, toy_folder / "classifier.keras", out)))


@pytest.mark.long
@pytest.mark.slow
def test_a_run_through_all_faults_has_the_bits_of_a_local_one(
    faulty: FaultyS3, local: list[dict[str, Any]]
) -> None:
    faulty.set_rates(RATES)
    faulty.spoil("short", 1, ("GET",))  # the rarest: which requests meet one is decided by names
    summary = score(settings(faulty, "all"))
    assert numbers(summary) == local
    assert set(faulty.counts) >= {"500", "503", "reset", "lost", "short", "missing"}
    assert faulty.counts.total() > 30
    assert summary.shards_computed == summary.shards_total
    faulty.set_rates({})
    assert verify_output(settings(faulty, "all")["out"]).bad == ()
    assert score(settings(faulty, "all")).shards_computed == 0


def test_a_refused_permission_ends_with_a_sentence_at_once(
    faulty: FaultyS3, toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not tried again."""

    def wait(self: Retries, failures: int) -> float:
        raise AssertionError("a refused permission is tried again")

    monkeypatch.setattr(Retries, "wait", wait)
    faulty.set_rates({"403": 1.0})
    chosen = settings(faulty, "refused")
    result = CliRunner().invoke(
        app,
        [
            *("score", str(toy_folder / "runs/step-0001"), "--reference", "digits"),
            *("--extractor", str(toy_folder / "classifier.keras")),
            *("--out", chosen["out"], "--workers", "0"),
        ],
    )
    assert result.exit_code == 2
    assert "ACCESS_DENIED" in result.stderr
    assert "check the credentials" in result.stderr
    assert "Traceback" not in result.output
    with pytest.raises(InputError, match=r"step-0001 cannot be listed.*ACCESS_DENIED"):
        prepare(make_spec(chosen | {"out": str(tmp_path / "out")}), ignore)
    assert not (tmp_path / "out").exists()


class Breaking(SerialExecutor):
    """The store breaks after the third shard."""

    def __init__(self, faulty: FaultyS3, rates: dict[str, float]) -> None:
        self._faulty, self._rates = faulty, rates

    def run_shards(self, tasks: Any, config: Any) -> Iterator[Any]:
        for number, outcome in enumerate(super().run_shards(tasks, config), 1):
            if number == 3:
                self._faulty.set_rates(self._rates)
            yield outcome


@pytest.mark.parametrize("fault", ["403", "503"])
def test_a_store_that_breaks_in_the_middle_loses_nothing(
    faulty: FaultyS3, local: list[dict[str, Any]], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_batch.storage.retry.RETRIES", Retries(2, 0.01, 0.01))
    chosen = settings(faulty, f"broken-{fault}")
    plan = prepare(make_spec(chosen), ignore)
    with pytest.raises(InputError, match=r"ACCESS_DENIED|failed 2 times.*HTTP status 503"):
        run(plan, Breaking(faulty, {fault: 1.0}), ignore)
    faulty.set_rates({})
    summary = score(chosen)
    assert summary.shards_before >= 2
    assert summary.shards_computed == summary.shards_total - summary.shards_before
    assert numbers(summary) == local


def test_a_table_that_seems_missing_keeps_its_rows(faulty: FaultyS3) -> None:
    """A row is written by reading the table first: a 404 taken at its word would empty it."""
    store = Store.open(faulty.uri("runs/table"))
    upsert_scores(store, [score_row("a")])
    faulty.spoil("missing", 2, ("HEAD", "GET"))
    upsert_scores(store, [score_row("b")])
    assert faulty.counts["missing"] == 2
    assert [row.checkpoint for row in read_score_rows(store)] == ["a", "b"]


def test_the_same_seed_spoils_the_same_requests(server: str) -> None:
    spoilt = []
    for seed in (1, 1, 2):
        proxy = start(server, seed, {"500": 0.2, "short": 0.2})
        calls = [("GET", f"/runs/a/{n % 7}") for n in range(100)]
        spoilt.append([proxy.next_fault(*call) for call in calls])
        # A listing has no body of an object to be short.
        assert {proxy.next_fault("GET", "/runs?list-type=2") for _ in range(50)} <= {"", "500"}
        proxy.stop()
    assert spoilt[0] == spoilt[1] != spoilt[2]
    assert 8 <= spoilt[0].count("500") <= 35
