"""A proxy before an S3 server that spoils requests, the same ones for the same seed.

    with local_s3() as server:                        # moto on loopback, credentials in os.environ
        faulty = start(server, seed=1, rates={"500": 0.05, "short": 0.02, "hang": 0.01})
        make_bucket(server, "runs")
        uri = faulty.uri("runs/night")                # for --out and the like
        ...
        faulty.counts                                 # {"500": 7, "short": 2}
        faulty.stop()

Faults, and what they are done to:

* any HTTP status, such as ``500``, ``503``, ``429`` or ``403``: answered without asking the server
* ``reset``: the connection ends before the server is asked
* ``lost``: the server does what it was asked; its answer is lost with the connection
* ``hang``: nothing for ``hang_s`` seconds, then the connection ends
* ``slow``: a body in four parts, ``hang_s`` / 4 seconds apart
* ``etag``: the digest of another content as the object's ETag
* ``truncated``: half of a body, of the announced length, and the connection ends
* ``short``: half of an object's body, announced as such: pyarrow 26 notices nothing
* ``garbled``: an object's body with a bit flipped
* ``missing``: 404 for an object that is there
* ``stale``: a listing without the second half of its files

Which request is spoilt follows from the seed, its method, its path and how often that was asked
before; so threads and workers that come in another order meet the same faults.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import logging
import os
import re
import socket
import sys
import threading
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

_CODES = {403: "AccessDenied", 429: "SlowDown", 500: "InternalError", 503: "SlowDown"}
_DROPPED = ("connection", "transfer-encoding", "expect", "date", "server")
_ENTRY = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)


class FaultyS3(http.server.ThreadingHTTPServer):
    """A running proxy.

    Attributes:
      counts: Requests spoilt, by fault.
      requests: Requests in all.
      hang_s: Seconds that ``hang`` takes.
    """

    daemon_threads = True

    def __init__(self, server: str, seed: int, rates: Mapping[str, float], hang_s: float) -> None:
        """See :func:`start`."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = server.removeprefix("http://")
        self.hang_s, self.requests = hang_s, 0
        self.counts: Counter[str] = Counter()
        self._seed, self._rates = seed, dict(rates)
        self._asked: Counter[tuple[str, str]] = Counter()
        self._next: tuple[str, int, tuple[str, ...]] = ("", 0, ())
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.server_port}"

    def uri(self, path: str, user: str = "") -> str:
        """An ``s3://`` URI of a path (bucket first) through this proxy.

        Args:
          path: Such as ``bucket/folder``.
          user: ``key:secret``, where the credentials shall stand in the URI.
        """
        return s3_uri(self.address, path, user)

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Spoil other shares of requests from now on."""
        with self._lock:
            self._rates = dict(rates)

    def spoil(self, fault: str, times: int, methods: tuple[str, ...] = ()) -> None:
        """Spoil the next so many fitting requests (of some methods), whatever the rates.

        Counts begin anew.
        """
        with self._lock:
            self._next = (fault, times, methods)
            self.counts.clear()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """End it."""
        self.shutdown()
        self.server_close()

    def next_fault(self, method: str, path: str) -> str:
        """The fault of a request; empty where it is to be handed on."""
        with self._lock:
            self.requests += 1
            fault = self._scripted(method, path) or self._drawn(method, path)
            self.counts.update([fault] if fault else [])
            return fault

    def _scripted(self, method: str, path: str) -> str:
        fault, times, methods = self._next
        if times == 0 or (methods and method not in methods) or not _fits(fault, method, path):
            return ""
        self._next = (fault, times - 1, methods)
        return fault

    def _drawn(self, method: str, path: str) -> str:
        key = (method, _lasting(path))
        self._asked[key] += 1
        text = f"{self._seed}/{key}/{self._asked[key]}".encode()
        draw = int.from_bytes(hashlib.sha256(text).digest()[:8]) / 2**64
        for fault, rate in self._rates.items():
            if draw < rate:
                return fault if _fits(fault, method, path) else ""
            draw -= rate
        return ""


def start(
    server: str, seed: int = 0, rates: Mapping[str, float] | None = None, hang_s: float = 5.0
) -> FaultyS3:
    """Start a proxy.

    Args:
      server: ``http://host:port`` of the real one.
      seed: Decides which requests are spoilt.
      rates: Fault to the share of requests that meet it, 0 to 1 in all; faults that do not fit a
        request (such as ``short`` and a listing) leave it alone.
      hang_s: Seconds that ``hang`` takes; pyarrow's client gives up after 3.
    """
    return FaultyS3(server, seed, rates or {}, hang_s)


@contextlib.contextmanager
def local_s3(address: str = "127.0.0.1") -> Iterator[str]:
    """A real S3 API at an address of this machine, ``http://host:port``.

    ``ImportError`` where moto is missing.
    """
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "test"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        try:
            yield f"http://{host}:{port}"
        finally:
            # All servers of a process share what they hold.
            reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
            urllib.request.urlopen(reset, timeout=30).close()
            server.stop()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def make_bucket(server: str, bucket: str) -> Any:
    """Make a bucket; gives the pyarrow filesystem of the server."""
    from pyarrow import fs

    uri = s3_uri(server.removeprefix("http://"), bucket) + "&allow_bucket_creation=true"
    filesystem, _ = fs.FileSystem.from_uri(uri)
    filesystem.create_dir(bucket)
    return filesystem


def s3_uri(address: str, path: str, user: str = "") -> str:
    """An ``s3://`` URI of a path (bucket first) at ``host:port``."""
    at = f"{user}@" if user else ""
    return f"s3://{at}{path}?endpoint_override={address}&scheme=http&region=us-east-1"


def _lasting(path: str) -> str:
    """A path without what differs between runs: names of uploads, and digests of paths."""
    return re.sub(r"[0-9a-f]{12,}", "digest", re.sub(r"uploadId=[^&]*", "uploadId", path))


def _fits(fault: str, method: str, path: str) -> bool:
    parts = urlsplit(path)
    listing = "list-type" in parse_qs(parts.query)
    is_object = parts.path.strip("/").count("/") >= 1 and not parts.query
    if fault == "stale":
        return method == "GET" and listing
    if fault in ("short", "garbled"):
        return method == "GET" and is_object
    if fault == "missing":
        return method in ("GET", "HEAD") and is_object
    return fault not in ("truncated", "slow") or method == "GET"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else small answers wait 40 ms for the client's acknowledgement
    server: FaultyS3

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self._body()
        fault = self.server.next_fault(self.command, self.path)
        if fault.isdigit() or fault == "missing":
            self._refuse(404 if fault == "missing" else int(fault))
        elif fault in ("reset", "hang"):
            time.sleep(self.server.hang_s * (fault == "hang"))
            self._hang_up()
        else:
            with contextlib.suppress(ConnectionError):  # the client has gone
                self._pass_on(body, fault)

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
        code = "NoSuchKey" if status == 404 else _CODES.get(status, "Other")
        text = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        self._send(status, {"Content-Type": "application/xml"}, text)

    def _pass_on(self, body: bytes, fault: str) -> None:
        connection = http.client.HTTPConnection(self.server.target)
        asked = {k: v for k, v in self.headers.items() if k.lower() not in _DROPPED}
        connection.request(self.command, self.path, body, asked)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in _DROPPED}
        if fault == "lost":
            self._hang_up()
        elif fault == "etag":
            kept |= {name: f'"{"0" * 32}"' for name in kept if name.lower() == "etag"}
            self._send(answer.status, kept, content, kept.get("Content-Length", "0"))
        elif fault == "slow":
            self._send(answer.status, kept, b"", str(len(content)))
            quarter = -(-len(content) // 4)
            for start in range(0, len(content), quarter or 1):
                time.sleep(self.server.hang_s / 4)
                self.wfile.write(content[start : start + quarter])
                self.wfile.flush()
        elif self.command == "HEAD":
            self._send(answer.status, kept, b"", kept.get("Content-Length", "0"))
        elif fault == "truncated":
            self._send(answer.status, kept, content[: len(content) // 2], str(len(content)))
            self._hang_up()
        else:
            self._send(answer.status, kept, _spoilt(content, fault))

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, size: str = "") -> None:
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
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815


def _spoilt(content: bytes, fault: str) -> bytes:
    if fault == "short":
        return content[: len(content) // 2]
    if fault == "garbled" and content:
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    if fault == "stale":
        entries = _ENTRY.findall(content)
        for entry in entries[len(entries) // 2 :]:
            content = content.replace(entry, b"")
    return content
