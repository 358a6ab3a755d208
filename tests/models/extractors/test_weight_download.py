"""Downloads from a server on loopback: whole, resumed, wrong, refused, offline."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.models.published_layouts import Publish

from vae_batch.models.extractors.weights import download as weight_download
from vae_batch.models.extractors.weights.download import Progress, download_weights
from vae_batch.models.extractors.weights.listing import fetch_weights, list_weights, verify_weights
from vae_batch.models.extractors.weights.search import cache_folder, find_weights
from vae_batch.plan.errors import InputError

NAME = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
CONTENT = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 4000  # about 1 MB


@dataclass
class Server:
    """What the server does, and what it was asked for."""

    content: bytes = CONTENT
    ranges: bool = True
    cut_first_at: int | None = None
    failures: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    def start(self, header: str | None) -> int:
        return int(header.removeprefix("bytes=").removesuffix("-")) if header else 0


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            header = self.headers.get("Range")
            server.asked.append(header)
            if server.failures:
                return self.send_error(server.failures.pop(0))
            start = server.start(header) if server.ranges else 0
            if start >= len(server.content):
                return self.send_error(416)
            body = server.content[start:]
            self.send_response(206 if start else 200)
            if start:
                total = len(server.content)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if server.cut_first_at is not None:
                body, server.cut_first_at = body[: server.cut_first_at], None
            self.wfile.write(body)
            return None

        def log_message(self, *arguments: object) -> None:
            """Keep the test's output clean."""

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    state.url = f"http://127.0.0.1:{http.server_port}/{NAME}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, empty_caches: Path) -> None:
    monkeypatch.setattr(weight_download, "_PAUSE_SECONDS", 0.0)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_download_is_checked_and_named(server: Server, publish: Publish, tmp_path: Path) -> None:
    entry, log = publish(NAME, CONTENT, url=server.url), io.StringIO()
    found = download_weights(entry, tmp_path / "new/folder", log)
    assert found.path == tmp_path / "new/folder" / NAME
    assert found.path.read_bytes() == CONTENT
    assert found.published == entry
    assert [path.name for path in found.path.parent.iterdir()] == [NAME]
    assert f"{NAME}: 100 %" in log.getvalue()
    # A second call asks nobody.
    download_weights(entry, tmp_path / "new/folder", log)
    assert server.asked == [None]


def test_a_partial_file_is_resumed(server: Server, publish: Publish, tmp_path: Path) -> None:
    entry = publish(NAME, CONTENT, url=server.url)
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:300_000])
    found = download_weights(entry, tmp_path, io.StringIO())
    assert server.asked == ["bytes=300000-"]
    assert found.path.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    entry, server.ranges = publish(NAME, CONTENT, url=server.url), False
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:300_000])
    assert download_weights(entry, tmp_path, io.StringIO()).path.read_bytes() == CONTENT


def test_a_broken_connection_is_resumed_at_once(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    entry, server.cut_first_at = publish(NAME, CONTENT, url=server.url), 400_000
    found = download_weights(entry, tmp_path, io.StringIO())
    assert server.asked == [None, "bytes=400000-"]
    assert found.path.read_bytes() == CONTENT


def test_a_partial_file_that_is_too_long_starts_over(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    entry = publish(NAME, CONTENT, url=server.url)
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b"more")
    assert download_weights(entry, tmp_path, io.StringIO()).path.read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_busy_server_is_asked_again(server: Server, publish: Publish, tmp_path: Path) -> None:
    entry, server.failures = publish(NAME, CONTENT, url=server.url), [503, 502]
    assert download_weights(entry, tmp_path, io.StringIO()).path.is_file()
    assert len(server.asked) == 3


def test_other_content_is_refused_and_deleted(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    entry = publish(NAME, CONTENT, url=server.url)
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(InputError, match=f"other content than was published as {NAME}.*deleted"):
        download_weights(entry, tmp_path, io.StringIO())
    assert list(tmp_path.glob("*.*")) == []


def test_a_moved_file_is_not_asked_twice(server: Server, publish: Publish, tmp_path: Path) -> None:
    entry, server.failures = publish(NAME, CONTENT, url=server.url), [404]
    with pytest.raises(InputError, match="answered 404 Not Found; the file may have moved"):
        download_weights(entry, tmp_path, io.StringIO())
    assert len(server.asked) == 1


def test_a_server_that_stays_broken_gives_up(
    server: Server, publish: Publish, tmp_path: Path
) -> None:
    entry, server.failures = publish(NAME, CONTENT, url=server.url), [500] * 9
    with pytest.raises(InputError, match="cannot be downloaded here: the server answered 500"):
        download_weights(entry, tmp_path, io.StringIO())
    assert len(server.asked) == 4


def test_offline_says_what_to_do(publish: Publish) -> None:
    # Port 9 (discard) of loopback: nobody listens there.
    publish(NAME, CONTENT, url=f"http://127.0.0.1:9/{NAME}")
    with pytest.raises(InputError) as caught:
        find_weights("inception-keras")
    for words in ("cannot be downloaded here", "--weights", "VAE_BATCH_WEIGHTS", NAME):
        assert words in str(caught.value)


def test_missing_weights_are_downloaded_once(
    server: Server, publish: Publish, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(NAME, CONTENT, url=server.url)
    first, second = find_weights("inception-keras"), find_weights("inception-keras")
    assert first.path == second.path == cache_folder() / NAME
    assert len(server.asked) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert NAME in output.err


def test_fetch_list_and_verify(server: Server, publish: Publish) -> None:
    publish(NAME, CONTENT, url=server.url)
    assert {entry.name: entry.path for entry in list_weights()}[NAME] is None
    fetched = fetch_weights("inception-keras")
    assert fetched.verified
    assert fetched.published == NAME
    # The bytes are those that were published, but these are no weights: reading says so.
    assert not fetched.readable
    assert {entry.name: entry.path for entry in list_weights()}[NAME] == fetched.path
    assert verify_weights(fetched.path) == fetched
    with pytest.raises(InputError, match="weights 'vgg' are unknown; expected one of inception"):
        fetch_weights("vgg")


def test_progress_prints_a_line_every_tenth() -> None:
    log = io.StringIO()
    progress = Progress("file", 100, log)
    for done in (1, 5, 12, 13, 100):
        progress.show(done)
    progress.close()
    assert log.getvalue() == "file:   1 %\nfile:  12 %\nfile: 100 %\n"
