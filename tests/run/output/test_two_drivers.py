"""A second driver on one output, while the first is at work: one result, no interleaving."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.runs.driver_processes import (
    finish,
    numbers,
    receipts,
    start,
    wait_for_receipts,
    write_spec,
)
from support.runs.serial_runs import score

from vae_batch.evaluation import evaluate
from vae_batch.plan import InputError, make_spec
from vae_batch.run.output.run_record import open_record
from vae_batch.run.progress.events import Event, Message, ignore

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_report")]


@pytest.fixture
def settings(toy_settings: dict[str, Any]) -> dict[str, Any]:
    return toy_settings | {"shard_size": 8, "metrics": "losses,fid"}


@contextmanager
def held_up(spec: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """A driver that has finished a shard, and gets no further until it is told to go on."""
    driver = start(spec)
    try:
        wait_for_receipts(driver, out, 1)
        driver.send_signal(signal.SIGSTOP)
        yield driver
    finally:
        driver.kill()
        driver.communicate()


def computed(said: str) -> int:
    """Shards that a driver says it computed."""
    found = re.search(r"(\d+) shards? computed", said)
    assert found, said
    return int(found[1])


def test_one_proceeds_and_the_other_is_told_who_it_is(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    out = Path(settings["out"])
    with held_up(write_spec(tmp_path / "spec.toml", settings), out) as first:
        before = receipts(out)
        told = rf"is in use by run \w+ of .* on .* \(process {first.pid}\) since"
        with pytest.raises(InputError, match=told):
            evaluate(make_spec(settings), ignore)
        assert receipts(out) == before
        first.send_signal(signal.SIGCONT)
        code, said = finish(first)
        assert code == 0, said
    assert computed(said) == len(receipts(out)) - reference_images(settings)


@pytest.mark.long
def test_the_other_waits_and_adds_its_own(settings: dict[str, Any], tmp_path: Path) -> None:
    """Of two runs over other checkpoints neither loses a row of the table or of the record."""
    (folder,) = settings["checkpoints"]
    names = [f"{folder}/step-0001", f"{folder}/step-0002"]
    score(settings | {"checkpoints": names, "out": str(tmp_path / "both")})
    out = Path(settings["out"])
    spec = write_spec(tmp_path / "first.toml", settings | {"checkpoints": names[:1]})
    waited = []
    with held_up(spec, out) as first:

        def emit(event: Event) -> None:
            if isinstance(event, Message) and "waiting up to 200 s for it" in event.text:
                waited.append(len(receipts(out)))
                first.send_signal(signal.SIGCONT)

        second = evaluate(make_spec(settings | {"checkpoints": names[1:], "wait": 200.0}), emit)
        code, said = finish(first)
        assert code == 0, said
    assert len(waited) == 1
    # The one that came second found the reference's shards done.
    shards = computed(said) + second.summary.shards_computed
    assert shards == len(receipts(out)) - reference_images(settings)
    assert [row.checkpoint for row in sorted(open_record(str(out)).rows, key=str)] == names
    assert numbers(out) == numbers(tmp_path / "both")


def reference_images(settings: dict[str, Any]) -> int:
    """Files of reference images, which are written while a run is prepared."""
    return -(-settings["reference_samples"] // settings["shard_size"])
