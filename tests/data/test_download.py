import http.server
import socket
import threading
import time

import numpy as np
import pytest

from jaxfer.data import download
from jaxfer.typing import UserError

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT on the loopback; each test says how badly."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts: list[int] = []  # after how many bytes each of the next answers breaks off
        self.ranges: list[str | None] = []  # what each request asked for
        self.resumes = True  # whether Range is heeded
        self.status = 200
        self.silent = threading.Event()  # set: answers stop where they would break off
        self.url = f"http://127.0.0.1:{self.server_port}/omniglot/file.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.ranges.append(self.headers["Range"])
        if self.server.status != 200:
            return self.send_error(self.server.status)
        start = 0
        if self.server.resumes and self.headers["Range"]:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(CONTENT)
        self.wfile.write(CONTENT[start : start + cut])
        self.wfile.flush()
        if self.server.silent.is_set():
            time.sleep(3)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "file.zip"


def left(path) -> set[str]:
    return {each.name for each in path.parent.iterdir()} - {"file.zip.lock"}


def test_a_file_arrives_whole(server, path, capsys):
    assert download(server.url, path) == path
    assert path.read_bytes() == CONTENT
    assert left(path) == {"file.zip"}
    assert "file.zip: 100%" in capsys.readouterr().err


def test_what_is_there_is_not_fetched_again(server, path):
    download(server.url, path)
    path.write_bytes(b"mine")
    download(server.url, path)
    assert path.read_bytes() == b"mine"
    assert len(server.ranges) == 1


def test_a_connection_cut_in_the_middle_is_taken_up_again(server, path):
    server.cuts = [100_000, 50_000]
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_an_interrupted_download_is_resumed_by_the_next_call(server, path):
    server.cuts = [100_000, 0]
    with pytest.raises(UserError, match="could not be downloaded"):
        download(server.url, path)
    assert left(path) == {"file.zip.part"}
    assert (path.parent / "file.zip.part").read_bytes() == CONTENT[:100_000]
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=100000-"


def test_a_server_that_cannot_resume_starts_again(server, path):
    server.cuts, server.resumes = [100_000], False
    download(server.url, path)
    assert path.read_bytes() == CONTENT


def test_a_part_of_something_longer_is_thrown_away(server, path):
    path.parent.mkdir()
    (path.parent / "file.zip.part").write_bytes(bytes(len(CONTENT) + 1))
    download(server.url, path)
    assert path.read_bytes() == CONTENT


def test_no_such_file(server, path):
    server.status = 404
    with pytest.raises(UserError, match="file.zip could not be downloaded: Not Found"):
        download(server.url, path)
    assert not path.exists()


def test_a_refused_connection_is_given_up_at_once(path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.zip"
    start = time.monotonic()
    with pytest.raises(UserError, match="could not be downloaded: .*refused"):
        download(url, path)
    assert time.monotonic() - start < 2


def test_a_name_look_up_that_hangs_is_given_up(path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3))
    start = time.monotonic()
    with pytest.raises(UserError, match="no answer within 0.5 seconds"):
        download("http://example.org/file.zip", path, patience=0.5)
    assert time.monotonic() - start < 2


def test_a_server_that_falls_silent_is_given_up(server, path):
    server.cuts = [100_000, 0]
    server.silent.set()
    start = time.monotonic()
    with pytest.raises(UserError, match="could not be downloaded: .*timed out"):
        download(server.url, path, patience=0.5)
    assert time.monotonic() - start < 3


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be downloaded: .*(exists|directory)"):
        download(server.url, tmp_path / "file" / "file.zip")


def test_two_at_once_download_it_once(server, path):
    threads = [threading.Thread(target=download, args=(server.url, path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == CONTENT
    assert len(server.ranges) == 1
