"""One run at a time: others wait or are told who it is; dead holders are followed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vae_batch.plan import InputError
from vae_batch.run.output import lease as lease_module
from vae_batch.run.output.lease import LEASE_FILE, Lease, output_lease
from vae_batch.storage import Store
from vae_batch.storage.checked_json import encode_checked

#: Holds a lease until it is killed.
HOLDER = """
import socket, sys, time
socket.gethostname = lambda: sys.argv[2]
from vae_batch.run.output.lease import output_lease
from vae_batch.storage import Store
with output_lease(Store.open(sys.argv[1]), run="first", period_s=0.5):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "out"))


@pytest.fixture
def unlocked(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store as on an object store: no folder, no lock, no exclusive creation."""
    monkeypatch.setattr(Store, "local_folder", None)
    monkeypatch.setattr(lease_module, "SETTLE", 0.2)
    return store


def content(store: Store) -> dict[str, Any]:
    return json.loads(store.read(LEASE_FILE))


@pytest.mark.parametrize("kind", ["store", "unlocked"])
def test_a_second_run_is_told_who_holds_the_output(
    kind: str, request: pytest.FixtureRequest
) -> None:
    store = request.getfixturevalue(kind)
    with output_lease(store, run="nightly-7"):
        found = content(store)
        assert (found["pid"], found["run"]) == (os.getpid(), "nightly-7")
        pattern = rf"run nightly-7 of .* on .* \(process {os.getpid()}\) since {found['since'][:4]}"
        with pytest.raises(InputError, match=pattern), output_lease(store):
            pass
        assert content(store) == found
    assert not store.exists(LEASE_FILE)
    with output_lease(store, run="next"):
        assert content(store)["run"] == "next"


def test_it_is_released_after_an_exception(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), output_lease(store):
        _ = 1 // 0
    assert not store.exists(LEASE_FILE)
    assert "lease" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("kind", ["store", "unlocked"])
def test_a_second_run_waits_for_the_first(kind: str, request: pytest.FixtureRequest) -> None:
    store = request.getfixturevalue(kind)
    order = []

    def first() -> None:
        with output_lease(store, period_s=0.3):
            order.append("first begins")
            began.set()
            time.sleep(2.0)  # far more than four periods: the thread renews it
            order.append("first ends")

    began = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    began.wait()
    with output_lease(store, wait_s=60, period_s=0.3):
        order.append("second begins")
    thread.join()
    assert order == ["first begins", "first ends", "second begins"]


@pytest.mark.parametrize("kind", ["store", "unlocked"])
def test_of_many_at_once_one_proceeds(kind: str, request: pytest.FixtureRequest) -> None:
    store = request.getfixturevalue(kind)
    inside, refused, start = [], [], threading.Barrier(8)
    done = threading.Event()

    def race(number: int) -> None:
        start.wait()
        try:
            with output_lease(store):
                inside.append(number)
                done.wait(60)
        except InputError:
            refused.append(number)

    threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(refused) < 7 and time.monotonic() < deadline:
        time.sleep(0.02)
    done.set()
    for thread in threads:
        thread.join()
    assert (len(inside), len(refused)) == (1, 7)


@pytest.mark.parametrize("host", ["same", "elsewhere"])
def test_a_killed_holder_is_followed(
    store: Store, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same host at once: its lock ended with it. Else four periods after its last sign."""
    monkeypatch.setattr("socket.gethostname", lambda: "same")
    monkeypatch.setattr(lease_module, "SETTLE", 0.05)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, store.root, host],
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="run first"), output_lease(store, wait_s=3.0):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    last_sign = content(store)["heartbeat"]
    with output_lease(store, wait_s=60, run="second"):
        assert content(store)["run"] == "second"
        if host == "elsewhere":
            assert time.time() - last_sign > 4 * 0.5


def test_a_fresh_lease_of_another_host_is_respected_although_its_lock_is_not_seen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "SETTLE", 0.05)
    other = dataclasses.replace(lease_module._holder("theirs", 15.0), host="elsewhere")
    lease_module._write(store, other)
    with pytest.raises(InputError, match=r"run theirs of .* on elsewhere"), output_lease(store):
        pass
    lease_module._write(store, dataclasses.replace(other, heartbeat=time.time() - 61))
    age(store, 61)
    with output_lease(store, run="ours"):
        assert content(store)["run"] == "ours"


def age(store: Store, seconds: float) -> None:
    """Let a lease be so old by the store's clock."""
    written = time.time() - seconds
    os.utime(Path(store.root, LEASE_FILE), (written, written))


@pytest.mark.parametrize("kind", ["store", "unlocked"])
@pytest.mark.parametrize("skew", [-86400.0, 86400.0])
def test_a_clock_that_is_a_day_off_neither_blocks_nor_takes_over(
    kind: str, skew: float, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = request.getfixturevalue(kind)
    monkeypatch.setattr(lease_module, "SETTLE", 0.05)
    theirs = lease_module._holder("theirs", 15.0)
    theirs = dataclasses.replace(theirs, host="elsewhere", heartbeat=time.time() + skew)
    lease_module._write(store, theirs)
    age(store, 30)
    match = r"last heard of (29|3\d) s ago"
    with pytest.raises(InputError, match=match) as told, output_lease(store):
        pass
    assert "--wait" in str(told.value)
    assert "60 s after its last sign" in str(told.value)
    age(store, 61)
    with output_lease(store, run="ours"):
        assert content(store)["run"] == "ours"
    assert not [name for name in store.sizes() if name.startswith("lease.clock")]


def test_a_stopped_holder_is_told_with_what_to_do(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, store.root, "here"],
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        lease_module._write(store, dataclasses.replace(holder_in(store), heartbeat=0.0))
        age(store, 300)
        match = r"last heard of 30\d s ago"
        with pytest.raises(InputError, match=match) as told, output_lease(store):
            pass
        assert "it is stopped or hangs: on here let it go on" in str(told.value)
        assert f"(kill -CONT {holder.pid}) or end it (kill -KILL {holder.pid})" in str(told.value)
        assert "wait for it" not in str(told.value)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with output_lease(store, run="ours"):
        assert content(store)["run"] == "ours"


def holder_in(store: Store) -> lease_module.Holder:
    found = lease_module.holder_of(store)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("heartbeat", "soon"), ("heartbeat", float("nan")), ("heartbeat", None),
        ("period", "15"), ("period", 0), ("period", float("inf")), ("period", 1e300),
        ("pid", "one"), ("pid", 1.5), ("since", 3), ("host", []), ("token", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["store", "unlocked"])
def test_a_lease_of_other_types_holds_nobody_up(
    kind: str, name: str, value: Any, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    store = request.getfixturevalue(kind)
    monkeypatch.setattr(lease_module, "SETTLE", 0.01)
    fields = dataclasses.asdict(lease_module._holder("theirs", 15.0))
    store.write(LEASE_FILE, encode_checked(fields | {"host": "elsewhere", name: value}))
    assert lease_module.holder_of(store) is None
    with output_lease(store, run="ours"):
        assert content(store)["run"] == "ours"


def test_a_damaged_lease_holds_nobody_up(store: Store) -> None:
    store.write(LEASE_FILE, b'{"host": ')
    with output_lease(store, run="ours"):
        assert content(store)["run"] == "ours"


def test_a_run_that_lost_its_lease_finds_out_and_leaves_it_alone(store: Store) -> None:
    mine = lease_module._holder("mine", 0.05)
    lease_module._write(store, mine)
    lease = Lease(store, mine)
    lease.require()
    theirs = lease_module._holder("theirs", 15.0)
    lease_module._write(store, theirs)
    deadline = time.monotonic() + 60
    while not lease.is_lost and time.monotonic() < deadline:
        # A renewal that was under way may have written over it: another run would see that.
        lease_module._write(store, theirs)
        time.sleep(0.02)
    with pytest.raises(InputError, match="taken over by run theirs"):
        lease.require()
    lease.release()
    assert content(store)["run"] == "theirs"


def test_an_outage_does_not_end_a_run_before_its_lease_could_be_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with output_lease(store, period_s=0.1) as lease:
        began = time.monotonic()

        def fail(*_: object) -> None:
            raise OSError("the object store is away")

        with monkeypatch.context() as patch:
            patch.setattr(lease_module, "_write", fail)
            while not lease.is_lost and time.monotonic() - began < 60:
                time.sleep(0.01)
            assert time.monotonic() - began > 4 * 0.1 - 0.1  # counted from the last heartbeat
            assert lease.is_lost


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot be used"),
        output_lease(Store.open(str(tmp_path / "file"))),
    ):
        pass
