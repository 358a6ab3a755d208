"""Transient errors of an object store are waited out; lasting ones, and local ones, are not.

Between the client and a real S3 API on loopback stands a server that spoils requests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.stores.faulty_s3 import FaultyS3, local_s3, make_bucket, start

from vae_batch.plan import InputError
from vae_batch.plan.credentials import without_credentials
from vae_batch.storage import Store
from vae_batch.storage.retry import OutageError, Retries, StoreError, is_transient, retrying
from vae_batch.storage.store import OtherContentError

CONTENT = b"abc" * 1000


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")
    with local_s3() as moto:
        make_bucket(moto, "runs")
        faulty = start(moto, hang_s=2.0)
        yield faulty
        faulty.stop()


@pytest.fixture
def store(server: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose client does not try again by itself; waits are a hundredth of a second."""
    from pyarrow import fs

    filesystem = fs.S3FileSystem(
        endpoint_override=server.address, scheme="http", region="us-east-1", request_timeout=1,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )  # fmt: skip
    server.spoil("", 0)
    monkeypatch.setattr("vae_batch.storage.store._resolve", lambda _: (filesystem, "runs/a"))
    monkeypatch.setattr("vae_batch.storage.retry._SECOND_LOOKS", (0.01, 0.01))
    monkeypatch.setattr("vae_batch.storage.retry.RETRIES", Retries(4, 0.01, 0.01))
    store = Store("s3://key:secret@runs/a")
    store.write("x", CONTENT)
    return store


OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "write": lambda store: store.write("x", CONTENT),
    "read": lambda store: store.read("x"),
    "exists": lambda store: store.exists("x"),
    "sizes": lambda store: store.sizes(),
    "delete": lambda store: store.delete("x"),
}


@pytest.mark.parametrize("fault", ["500", "503", "429", "reset"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_passing_faults_change_nothing(
    store: Store, server: FaultyS3, operation: str, fault: str
) -> None:
    quiet = OPERATIONS[operation](store)
    store.write("x", CONTENT)
    # The client itself repeats some requests on a connection that was closed; three in a row
    # are past what it does and less than the four attempts of the store.
    server.spoil(fault, 3)
    assert OPERATIONS[operation](store) == quiet
    assert server.counts.total() == 3
    assert store.exists("x") == (operation != "delete")
    assert store.sizes() == ({} if operation == "delete" else {"x": 3000})


def test_half_a_body_is_read_again(
    store: Store, server: FaultyS3, caplog: pytest.LogCaptureFixture
) -> None:
    server.spoil("truncated", 2, ("GET",))
    assert store.read("x") == CONTENT
    assert server.counts.total() == 2
    assert caplog.text.count("end of response with 1500 bytes missing") == 2


@pytest.mark.parametrize("times", [1, 3])
def test_a_body_that_is_short_without_saying_so_is_read_again(
    store: Store, server: FaultyS3, times: int
) -> None:
    """pyarrow alone gives 3000 bytes, half of them from elsewhere in its memory, and no error."""
    server.spoil("short", times, ("GET",))
    assert store.read("x") == CONTENT
    assert server.counts["short"] == times


@pytest.mark.parametrize("fault", ["slow", "etag"])
def test_slow_bodies_and_other_etags_change_nothing(
    store: Store, server: FaultyS3, fault: str
) -> None:
    """Contents are checked by digests of our own."""
    server.hang_s = 1.0
    server.spoil(fault, 3)
    assert [store.read("x") for _ in range(3)] == [CONTENT] * 3
    store.write("y", CONTENT)
    assert store.sizes() == {"x": 3000, "y": 3000}
    assert server.counts[fault] == 3


def test_a_body_that_stays_short_is_no_content(store: Store, server: FaultyS3) -> None:
    server.spoil("short", 99, ("GET",))
    with pytest.raises(StoreError, match=r"failed 4 times; .* ended before the file did"):
        store.read("x")


def test_a_file_of_one_byte_or_none_is_read(store: Store) -> None:
    for content in (b"", b"a"):
        store.write("x", content)
        assert [store.read("x") for _ in range(20)] == [content] * 20


def test_a_file_is_missing_only_when_the_store_says_so_again(
    store: Store, server: FaultyS3
) -> None:
    server.spoil("missing", 2, ("HEAD", "GET"))
    assert store.find("x") == CONTENT
    assert server.counts["missing"] == 2
    assert store.find("none") is None


@pytest.mark.parametrize("fault", ["garbled", "missing"])
def test_content_of_another_digest_is_read_again(
    store: Store, server: FaultyS3, fault: str
) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    server.spoil(fault, 1, ("GET",))
    assert store.read_expected("x", digest) == CONTENT
    assert server.counts[fault] == 1
    with pytest.raises(OtherContentError, match="s3://runs/a/x has another digest"):
        store.read_expected("x", "0" * 64)
    with pytest.raises(FileNotFoundError):
        store.read_expected("none", digest)


def test_an_answer_that_is_lost_changes_nothing(store: Store, server: FaultyS3) -> None:
    """What was asked for has been done, so that asking again may meet what it has made."""
    for content, method in ((b"1" * 3000, "PUT"), (b"2" * 3000, "POST"), (b"3" * 3000, "DELETE")):
        server.spoil("lost", 1, (method,))
        store.write("x", content)
        assert store.read("x") == content
    server.spoil("lost", 1, ("DELETE",))
    store.delete("x")
    assert server.counts["lost"] == 1
    assert not store.exists("x")


def test_a_request_that_hangs_is_given_up_and_repeated(store: Store, server: FaultyS3) -> None:
    server.spoil("hang", 1)
    assert store.read("x") == CONTENT
    assert server.counts.total() == 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_refused_permission_is_not_asked_for_again(
    store: Store, server: FaultyS3, operation: str
) -> None:
    server.spoil("403", 99)
    with pytest.raises(StoreError, match=r"s3://runs/a.*ACCESS_DENIED.*check the credentials"):
        OPERATIONS[operation](store)
    assert server.counts.total() == 1


def test_a_missing_file_is_missing_at_once(store: Store, server: FaultyS3) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("none")
    store.delete("none")
    assert store.sizes("none") == {}


def test_an_outage_ends_with_the_last_error_and_without_credentials(
    store: Store, server: FaultyS3, caplog: pytest.LogCaptureFixture
) -> None:
    server.spoil("503", 99)
    with pytest.raises(
        OutageError, match=r"failed 4 times; last, writing x in s3://runs/a: .*SLOW_D"
    ):
        store.write("x", CONTENT)
    assert len(caplog.records) == 3
    assert "attempt 3 of 4" in caplog.text
    assert "secret" not in caplog.text + repr(store)


def test_local_stores_fail_at_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def broken(*_: object) -> None:
        calls.append(1)
        raise ConnectionError("transient anywhere else")

    monkeypatch.setattr("vae_batch.storage.store._write_local", broken)
    with pytest.raises(ConnectionError):
        Store.open(str(tmp_path)).write("x", b"")
    assert len(calls) == 1


def test_waits_double_up_to_a_limit_and_are_jittered() -> None:
    waits: list[float] = []

    def fail() -> None:
        raise ConnectionResetError("gone")

    with pytest.raises(OutageError, match="failed 6 times; last, testing: gone"):
        retrying(fail, "testing", Retries(6, 1.0, 5.0), waits.append)
    # 1, 2, 4, then 5, 5: each between half and all of it.
    for seconds, most in zip(waits, (1, 2, 4, 5, 5), strict=True):
        assert most / 2 <= seconds <= most
    assert len(set(waits)) == 5


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (OSError("AWS Error NETWORK_CONNECTION during X: curlCode: 28, Timeout"), True),
        (OSError("AWS Error NETWORK_CONNECTION during X: curlCode: 60, SSL certificate"), False),
        (OSError("AWS Error UNKNOWN (HTTP status 502) during HeadObject"), True),
        (OSError("AWS Error UNKNOWN (HTTP status 400) during HeadObject"), False),
        (OSError("AWS Error NO_SUCH_BUCKET during X"), False),
        (OSError("google::cloud::Status(UNAVAILABLE: try again)"), True),
        (OSError("google::cloud::Status(PERMISSION_DENIED: no)"), False),
        (TimeoutError(), True),
        (FileNotFoundError("AWS Error SLOW_DOWN"), False),
        (PermissionError("HTTP status 500"), False),
        (ValueError("HTTP status 500"), False),
    ],
)
def test_which_errors_are_transient(error: Exception, transient: bool) -> None:
    assert is_transient(error) == transient


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:SE%2FCRET@bucket/a?region=x", "s3://bucket/a?region=x"),
        ("s3://KEY:SE/CRET@bucket/a", "s3://bucket/a"),
        ("s3://b/a?access_key=K&region=x&secret_key=S", "s3://b/a?access_key=***&region=x&secret_key=***"),
        ("at 's3://K:S@b/a': no", "at 's3://b/a': no"),
        ("abfs://container@account/a", "abfs://container@account/a"),
        ("/local/a:b@c", "/local/a:b@c"),
    ],
)  # fmt: skip
def test_messages_hold_no_credentials(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_a_uri_that_cannot_be_opened_is_shown_without_credentials() -> None:
    for uri in ("s3://KEY:SECRET@bucket/a?unknown=SECRET", "nowhere://KEY:SECRET@bucket/a"):
        with pytest.raises(InputError) as caught:
            Store.open(uri)
        assert "bucket/a" in str(caught.value)
        assert "SECRET" not in str(caught.value)
