"""Tables of URLs and texts, against a server on this machine that answers, errs, stalls, cuts and redirects."""

from __future__ import annotations

import csv
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import picture
from test_run import digest

from pairloom import ReadOptions, Reject, UsageError, run, verify
from pairloom.readers import fetch

IMAGE = picture(90, 60)


class Server(BaseHTTPRequestHandler):
    """Says in each path how it answers; counts what is asked for, and how much of it at a time."""

    asked: Counter[str] = Counter()
    at_once = most = 0
    lock = threading.Lock()

    def do_GET(self) -> None:
        cls = type(self)
        name = self.path.strip("/").partition("?")[0]
        with cls.lock:
            cls.asked[name] += 1
            cls.at_once += 1
            cls.most = max(cls.most, cls.at_once)
        try:
            getattr(self, f"say_{name.rstrip('0123456789')}", self.say_missing)()
        except BrokenPipeError:
            pass
        finally:
            with cls.lock:
                cls.at_once -= 1

    def answer(self, data: bytes = IMAGE, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(data)))
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def say_image(self) -> None:
        time.sleep(0.01 * (self.asked.total() % 5))
        self.answer(picture(90, 60, int(self.path[6:])))

    def say_plain(self) -> None:
        self.answer()

    def say_missing(self) -> None:
        self.answer(b"nothing here", 404)

    def say_flaky(self) -> None:
        self.answer(status=503 if self.asked["flaky"] < 3 else 200)

    def say_busy(self) -> None:
        self.answer(status=429)

    def say_moved(self) -> None:
        self.answer(b"", 302, Location="/plain?a=b")

    def say_circle(self) -> None:
        self.answer(b"", 302, Location="/circle")

    def say_file(self) -> None:
        self.answer(b"", 302, Location="file:///etc/passwd")

    def say_noai(self) -> None:
        self.answer(X_Robots_Tag="noindex, otherbot: noimageai")

    def say_huge(self) -> None:
        self.answer(b"", Content_Length=str(1 << 40))

    def say_endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(1 << 16))

    def say_drip(self) -> None:
        self.answer(b"\xff", Content_Length="1000")
        for _ in range(100):
            self.wfile.write(b"\xd8")
            time.sleep(0.02)

    def say_cut(self) -> None:
        self.answer(IMAGE[:100], Content_Length=str(len(IMAGE)))
        self.close_connection = True

    def say_web(self) -> None:
        self.answer(b"<html>gone</html>")

    def log_message(self, *rest: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(fetch, "_PAUSE", 0.01)
    Server.asked, Server.most = Counter(), 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def table(path: Path, urls: list[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("URL", "TEXT"), *((url, f"Picture {number}.") for number, url in enumerate(urls))])
    return path


@pytest.mark.parametrize("name", ["plain", "flaky", "moved", "plain?q=ü x"])
def test_images_that_can_be_had(server: str, name: str) -> None:
    assert fetch.fetch_image(f"{server}/{name}", private=True) == IMAGE


@pytest.mark.parametrize(
    ("name", "code", "asked"),
    [
        ("missing", "http_status", 1),
        ("busy", "http_status", 3),
        ("circle", "too_many_redirects", 6),
        ("file", "bad_url", 1),
        ("noai", "opted_out", 1),
        ("huge", "too_many_bytes", 1),
        ("endless", "too_many_bytes", 1),
        ("drip", "timeout", 3),
        ("cut", "unreachable", 3),
    ],
)
def test_images_that_can_not(server: str, name: str, code: str, asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MAX_IMAGE_BYTES", 1 << 20)
    if code == "timeout":
        monkeypatch.setattr(fetch, "SECONDS", 0.5)
    with pytest.raises(Reject) as caught:
        fetch.fetch_image(f"{server}/{name}", private=True)
    assert (caught.value.code, Server.asked[name]) == (code, asked)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "0"])
def test_private_addresses_are_refused(host: str) -> None:
    with pytest.raises(Reject, match="private_address"):
        fetch.fetch_image(f"http://{host}/latest/meta-data")


@pytest.mark.parametrize("url", ["http://", "ftp://host/x", "http://user:secret@host/x", "http://host:99999/x", "http://[::1"])
def test_urls_that_are_none(url: str) -> None:
    row = fetch.Row("key", "table", texts=("text",), url=url)
    [found] = fetch.fetched([row], "any")
    assert found.reject is not None and found.reject.code == "bad_url" and "secret" not in str(found.reject)


def test_a_table_of_urls_becomes_shards(server: str, tmp_path: Path) -> None:
    urls = [f"{server}/image{number}" for number in range(40)]
    urls[3], urls[7], urls[9] = f"{server}/missing", f"{server}/web", "no url"
    source = table(tmp_path / "urls.csv", urls)
    summary = run(source, tmp_path / "out", "naive", shard_size=15, reading=ReadOptions(fetch="any"))
    assert summary.reasons == {"http_status": 1, "not_an_image": 1, "missing_image": 1}
    assert summary.pairs_out == 37 and verify(tmp_path / "out") == []
    assert Server.most < 2 * fetch.PER_HOST  # the server sees the end of an answer a little later than we do
    kept = [key for shard in range(3) for key in pq.read_table(tmp_path / f"out/0000{shard}.parquet")["source_key"].to_pylist()]
    assert kept == [url for number, url in enumerate(urls) if number not in (3, 7, 9)]
    run(source, tmp_path / "two", "naive", shard_size=15, reading=ReadOptions(fetch="any"), workers=2)
    assert digest(tmp_path / "two") == digest(tmp_path / "out")


def test_urls_in_parquet_and_without_leave(server: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": [f"{server}/plain"], "text": ["A picture."]}), tmp_path / "urls.parquet")
    assert run(tmp_path / "urls.parquet", tmp_path / "out", "naive", reading=ReadOptions(fetch="any")).pairs_out == 1
    with pytest.raises(UsageError, match="no image column"):
        run(tmp_path / "urls.parquet", tmp_path / "other", "naive")
    Server.asked.clear()
    reading = ReadOptions(image_column="url")
    assert run(tmp_path / "urls.parquet", tmp_path / "other", "naive", reading=reading, max_reject=1).reasons == {
        "missing_image": 1
    }
    assert not Server.asked


@pytest.mark.parametrize("fetching", ["any", "no"])
def test_what_signs_a_url_is_stored_nowhere(server: str, tmp_path: Path, fetching: str) -> None:
    urls = [f"{server}/{name}?X-Amz-Signature=hidden&size=3" for name in ("image0", "image1", "missing", "web")]
    reading = ReadOptions(fetch=fetching, image_column="URL")
    run(
        table(tmp_path / "urls.csv", [*urls, f"http://user:hidden@{server[7:]}/image"]),
        tmp_path / "out",
        "naive",
        max_reject=1,
        reading=reading,
    )
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    rows = [row for path in files if path.suffix == ".parquet" for row in pq.read_table(path).to_pylist()]
    assert len(rows) == 5 and sum("X-Amz-Signature=…&size=3" in row["source_key"] for row in rows) == 4
    assert not [path for path in files if b"hidden" in path.read_bytes()] and "hidden" not in str(rows)
