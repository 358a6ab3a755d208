"""The main job on three nodes and an S3 store, while machines, processes and bytes fail.

    python tests/chaos.py --seed 1 --faults 12

Which faults come, when and whom they hit follows from the seed; "when" is a number of finished
shards. One checkpoint is truncated and one takes down every worker that loads it. Afterwards the
rows of the healthy checkpoints must be, bit for bit, those of a quiet run in one process; a shard
that had its receipt must keep it; and what was computed twice must not be more than what was in
flight when something died, or was spoilt. The bucket keeps every version of every object, so that
writes are counted and not guessed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import support.stores.faulty_s3 as faulty_s3
from support.clusters.ray_nodes import ROOT, Nodes, ray_nodes
from support.models.toy_models import save_classifier, save_pair
from support.runs.driver_processes import JOBS, PATIENCE
from support.stores import score_rows
from support.stores.versioned_bucket import OUT, VersionedBucket

from vae_batch.storage import Store, read_score_rows

HEALTHY = tuple(f"step-{number:04d}" for number in range(1, 5))
KINDS = ("kill worker", "lose node", "kill driver", "S3 errors", "flip bit")

#: Share of the requests that fail all the time, beside the bursts.
_ALWAYS = {"500": 0.01, "503": 0.005, "truncated": 0.003}

#: Shards that a worker may have in flight: one computes while another is written.
_IN_FLIGHT = 2
_WORKERS = 2


@dataclass
class Account:
    """What happened, and what it cost."""

    events: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    finished: dict[str, Any] = field(default_factory=dict)
    flipped: set[str] = field(default_factory=set)
    shards: int = 0
    computed_again: int = 0
    bound: int = 0
    lost: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def faults(self) -> int:
        """Faults injected, the two bad checkpoints among them; single failed requests not."""
        return sum(self.injected.values()) + 2


def schedule(seed: int, faults: int, shards: int) -> list[tuple[int, str]]:
    """(finished shards, fault), in order; every kind comes at least once where there is room."""
    draw = np.random.default_rng(seed)
    kinds = [KINDS[i % len(KINDS)] for i in range(faults)]
    places = draw.choice(np.arange(3, int(0.8 * shards)), faults, replace=False)
    return sorted(zip(map(int, places), map(str, draw.permutation(kinds)), strict=True))


class Chaos:
    """A run, its store and its cluster, and the hand that spoils them."""

    def __init__(self, folder: Path, server: str, nodes: Nodes, seed: int) -> None:
        self._folder, self._nodes = folder, nodes
        self._draw = np.random.default_rng([seed, 1])
        self._bucket = VersionedBucket(server)
        self._proxy = faulty_s3.start(server, seed, _ALWAYS)
        self._workers = ["first", "second"]
        self.account = Account()

    def prepare(self) -> None:
        """Checkpoints in the bucket, four of them sound, and three nodes."""
        for name in HEALTHY:
            save_pair(self._folder / "runs" / name, seed=int(name[-1]))
        broken = self._folder / "runs/step-0005"
        save_pair(broken, seed=5)
        whole = (broken / "decoder.keras").read_bytes()
        (broken / "decoder.keras").write_bytes(whole[: len(whole) // 2])
        poison = self._folder / "runs/step-0006.weights.h5"
        save_weights(poison)
        save_classifier(self._folder / "classifier.keras")
        self._bucket.upload(self._folder)
        for name, cores in (("head", 0), ("first", 1), ("second", 1)):
            self._nodes.add(name, num_cpus=cores)

    def quiet(self) -> list[dict[str, Any]]:
        """Rows of the healthy checkpoints by one process on a local disk."""
        runs = self._folder / "runs"
        here = {"checkpoints": [str(runs / name) for name in HEALTHY], "workers": 0}
        extractor = str(self._folder / "classifier.keras")
        out = self._folder / "quiet"
        spec = self._spec("quiet", here | {"extractors": [extractor], "out": str(out)})
        subprocess.run([sys.executable, str(JOBS / "score.py"), str(spec)], check=True)
        return rows_of(str(out))

    def storm(self, events: list[tuple[int, str]]) -> list[dict[str, Any]]:
        """Rows of the healthy checkpoints by the cluster, with all that goes wrong."""
        began = time.monotonic()
        at = self._proxy.uri
        there = {
            "checkpoints": [at("runs/runs")],
            "extractors": [at("runs/classifier.keras")],
            "out": at(f"runs/{OUT}"),
            "trust": True,
            "wait": PATIENCE,
        }
        spec = self._spec("storm", there)
        with spec.open("a") as file:
            file.write('\n[per_checkpoint."*step-0006*"]\n')
            file.write('builder = "support.models.deadly_builder:build"\n')
        driver = self._start(spec)
        for place, kind in events:
            if self._wait(driver, place):
                self._say(f"{len(self.account.finished)} shards: {kind}")
                self.account.injected[kind] += 1
                if kind == "kill driver":
                    os.kill(driver.pid, signal.SIGKILL)
                    driver.wait()
                    driver = self._start(spec)
                else:
                    self._inject(kind)
        said = driver.communicate(timeout=4 * PATIENCE)[1]
        self._say(f"the driver ends with {driver.returncode}")
        assert driver.returncode == 3, said
        self._mend(spec)
        self.account.seconds = time.monotonic() - began
        return rows_of(at(f"runs/{OUT}"))

    def settle(self) -> Account:
        """Count what was computed again and what was lost."""
        account, after = self.account, self._bucket.receipts()
        account.shards = len(after)
        account.lost = [
            path
            for path, written in account.finished.items()
            if after.get(path) != written and path not in account.flipped
        ]
        writes = self._bucket.writes()
        again = sum(count - 1 for count in writes.values())
        # The hand that flips a bit writes a version itself.
        account.computed_again = again - account.injected["flip bit"]
        dead = account.injected["kill worker"] + account.injected["lose node"]
        # Each driver tries the poison anew, which takes three workers; the last one is `_mend`'s.
        drivers = account.injected["kill driver"] + 2
        dead += 3 * drivers + _WORKERS * account.injected["kill driver"]
        account.bound = _IN_FLIGHT * dead + account.injected["flip bit"]
        self._proxy.stop()
        return account

    def _spec(self, name: str, settings: dict[str, Any]) -> Path:
        shared = {
            "reference": "digits",
            "reference_samples": 160,
            "samples": 160,
            "shard_size": 8,
            "batch_size": 8,
            "splits": 5,
            "metrics": ["losses", "fid", "inception_score"],
        }
        folder = self._folder / f"driver-{name}"
        folder.mkdir()
        lines = [f"{key} = {json.dumps(value)}" for key, value in (shared | settings).items()]
        (folder / "spec.toml").write_text("\n".join(lines))
        return folder / "spec.toml"

    def _start(self, spec: Path) -> subprocess.Popen[str]:
        path = f"{ROOT}:{ROOT / 'tests'}"
        return subprocess.Popen(
            [sys.executable, str(JOBS / "score.py"), str(spec)],
            env=os.environ | {"RAY_ADDRESS": self._nodes.address, "PYTHONPATH": path},
            cwd=spec.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _wait(self, driver: subprocess.Popen[str], count: int) -> bool:
        """Wait for so many finished shards; False where the run has ended before."""
        deadline = time.monotonic() + 2 * PATIENCE
        while len(self._note_finished()) < count:
            if driver.poll() is not None:
                return False
            assert time.monotonic() < deadline, "the run does not get on"
            time.sleep(0.2)
        return True

    def _inject(self, kind: str) -> None:
        if kind == "kill worker":
            victims = sorted(self._nodes.processes("ShardActor"))
            if victims:
                os.kill(victims[self._draw.integers(len(victims))], signal.SIGKILL)
        elif kind == "lose node":
            name = self._workers.pop(0)
            self._nodes.lose(name)
            self._workers.append(f"{name}-again")
            self._nodes.add(self._workers[-1], num_cpus=1)
        elif kind == "S3 errors":
            self._proxy.spoil("503", 40)
        else:
            self._flip()

    def _flip(self) -> None:
        receipts = sorted(self._note_finished())
        receipt = receipts[self._draw.integers(len(receipts))]
        self._bucket.flip(receipt, self._draw)
        self.account.flipped.add(receipt)

    def _mend(self, spec: Path) -> None:
        """Flips that nobody has read since are found by ``verify``, and made anew."""
        out = self._proxy.uri(f"runs/{OUT}")
        command = [sys.executable, "-m", "vae_batch.cli", "verify", out]
        subprocess.run([*command, "--mend"], cwd=ROOT, check=False)
        driver = self._start(spec)
        _, said = driver.communicate(timeout=4 * PATIENCE)
        assert driver.returncode == 3, said
        subprocess.run(command, cwd=ROOT, check=True)

    def _note_finished(self) -> dict[str, Any]:
        for path, written in self._bucket.receipts().items():
            self.account.finished.setdefault(path, written)
        return self.account.finished

    def _say(self, line: str) -> None:
        self.account.events.append(line)
        print(line, flush=True)


def save_weights(path: Path) -> None:
    """Weights whose builder, ``deadly_builder:build``, ends the process that calls it."""
    from support.models.toy_models import make_decoder

    make_decoder(6).save_weights(path)


def rows_of(out: str) -> list[dict[str, Any]]:
    """Healthy rows without what names places and times."""
    rows = {
        row.checkpoint.partition("?")[0].rpartition("/")[2]: row
        for row in read_score_rows(Store.open(out))
    }
    left_out = ("checkpoint", "fingerprint", "reason", "warnings")
    return score_rows.numbers((rows[name] for name in HEALTHY), *left_out)


@contextmanager
def chaos(folder: Path, seed: int) -> Iterator[Chaos]:
    """Store, cluster and proxy; all end with the block."""
    with faulty_s3.local_s3() as server, ray_nodes() as nodes:
        made = Chaos(folder, server, nodes, seed)
        made.prepare()
        yield made


def run(folder: Path, seed: int, faults: int, shards: int = 200) -> Account:
    """The quiet run, the storm, and their account; raises where a promise is broken."""
    with chaos(folder, seed) as made:
        quiet = made.quiet()
        stormy = made.storm(schedule(seed, faults, shards))
        account = made.settle()
    assert stormy == quiet, "rows of healthy checkpoints differ"
    assert not account.lost, f"finished shards were lost: {account.lost}"
    assert account.computed_again <= account.bound, account
    return account


def main() -> None:
    """Run it and print the account."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=int, default=12)
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder")
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    account = run(options.folder, options.seed, options.faults)
    shown = {
        "faults": account.faults,
        "injected": dict(account.injected),
        "shards": account.shards,
        "finished_before_a_fault_and_lost": len(account.lost),
        "computed_again": account.computed_again,
        "bound": account.bound,
        "seconds": round(account.seconds),
    }
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
