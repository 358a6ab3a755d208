"""Transient errors of an object store are waited out; lasting ones, and local ones, are not.

Between the client and a real S3 API on loopback stands a server that spoils requests.
"""

from __future__ import annotations

import http.client
import http.server
import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vae_batch.plan import InputError
from vae_batch.storage import Store
from vae_batch.storage.retry import Retries, is_transient, retrying, without_credentials

CONTENT = b"abc" * 1000


class FaultyServer(http.server.ThreadingHTTPServer):
    """Hands requests to another server, but for the first ``failing`` of a method."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.fault, self.methods, self.failing = (host, port), "", (), 0
        self.spoilt = 0

    def spoil(self, fault: str, failing: int, methods: tuple[str, ...] = ()) -> None:
        self.fault, self.failing, self.methods, self.spoilt = fault, failing, methods, 0

    def next_fault(self, method: str) -> str:
        if self.failing == 0 or (self.methods and method not in self.methods):
            return ""
        self.failing -= 1
        self.spoilt += 1
        return self.fault


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self._body()
        fault = self.server.next_fault(self.command)
        if fault.isdigit():
            self._refuse(int(fault))
        elif fault in ("reset", "timeout"):
            time.sleep(2.0 * (fault == "timeout"))
            self._hang_up()
        else:
            self._pass_on(body, cut=fault == "truncated")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _refuse(self, status: int) -> None:
        code = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}.get(status, "Other")
        text = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        self._send(status, {"Content-Type": "application/xml"}, text)

    def _pass_on(self, body: bytes, *, cut: bool) -> None:
        connection = http.client.HTTPConnection(*self.server.target)
        dropped = ("connection", "transfer-encoding", "expect", "date", "server")
        asked = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        connection.request(self.command, self.path, body, asked)
        answer = connection.getresponse()
        content = answer.read()
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in dropped}
        if self.command == "HEAD":
            self._send(answer.status, kept, b"", kept.get("Content-Length", "0"))
        elif cut:
            self._send(answer.status, kept, content[: len(content) // 2], str(len(content)))
            self._hang_up()
        else:
            self._send(answer.status, kept, content)
        connection.close()

    def _send(self, status: int, headers: dict[str, str], body: bytes, size: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", size or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    moto_server = pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        moto = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        faulty = FaultyServer(*moto.get_host_and_port())
        threading.Thread(target=faulty.serve_forever, daemon=True).start()
        yield faulty
        faulty.shutdown()
        faulty.server_close()
        moto.stop()


@pytest.fixture
def store(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose client does not try again by itself; waits are a hundredth of a second."""
    from pyarrow import fs

    address = f"127.0.0.1:{server.server_port}"
    filesystem = fs.S3FileSystem(
        endpoint_override=address, scheme="http", region="us-east-1", request_timeout=1,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1), allow_bucket_creation=True,
    )  # fmt: skip
    server.spoil("", 0)
    filesystem.create_dir("runs")
    monkeypatch.setattr("vae_batch.storage.store._resolve", lambda _: (filesystem, "runs/a"))
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
    store: Store, server: FaultyServer, operation: str, fault: str
) -> None:
    quiet = OPERATIONS[operation](store)
    store.write("x", CONTENT)
    # The client itself repeats some requests on a connection that was closed; three in a row
    # are past what it does and less than the four attempts of the store.
    server.spoil(fault, 3)
    assert OPERATIONS[operation](store) == quiet
    assert server.spoilt == 3
    assert store.exists("x") == (operation != "delete")
    assert store.sizes() == ({} if operation == "delete" else {"x": 3000})


def test_half_a_body_is_read_again(
    store: Store, server: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.spoil("truncated", 2, ("GET",))
    assert store.read("x") == CONTENT
    assert server.spoilt == 2
    assert caplog.text.count("end of response with 1500 bytes missing") == 2


def test_a_request_that_hangs_is_given_up_and_repeated(store: Store, server: FaultyServer) -> None:
    server.spoil("timeout", 1)
    assert store.read("x") == CONTENT
    assert server.spoilt == 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_refused_permission_is_not_asked_for_again(
    store: Store, server: FaultyServer, operation: str
) -> None:
    server.spoil("403", 99)
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        OPERATIONS[operation](store)
    assert server.spoilt == 1


def test_a_missing_file_is_missing_at_once(store: Store, server: FaultyServer) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("none")
    store.delete("none")
    assert store.sizes("none") == {}


def test_an_outage_ends_with_the_last_error_and_without_credentials(
    store: Store, server: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.spoil("503", 99)
    with pytest.raises(OSError, match=r"failed 4 times; last, writing x in s3://runs/a: .*SLOW_D"):
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

    with pytest.raises(OSError, match="failed 6 times; last, testing: gone"):
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
