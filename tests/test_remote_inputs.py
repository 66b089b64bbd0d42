"""Inputs behind a server that errs, stalls, cuts and lies about ranges: all pairs, or a clear word, and nothing in between."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import picture, write_pairs
from test_run import digest

from pairloom import run
from pairloom.errors import RunError, UsageError
from pairloom.readers.inputs import open_container
from pairloom.readers.model import ReadOptions
from pairloom.remote import files, retry
from pairloom.remote.names import secretless
from pairloom.verify import verify

pytest.importorskip("aiohttp")
from stores import FaultyServer

SIGNED = "?X-Amz-Signature=hidden1&X-Amz-Expires=60&part=3"


@pytest.fixture
def server(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Ten pairs as a tar, two of which can't be used, and eight as a table and as JSON lines with URLs; impatient clients."""
    run(write_pairs(tmp_path / "good", 8), tmp_path / "made", "naive")
    images = [picture(80 + n, 60, n) for n in range(8)]
    table = pa.table({"image": pa.array(images, pa.binary()), "text": [f"Picture {n}." for n in range(8)]})
    parquet = io.BytesIO()
    pq.write_table(table, parquet, row_group_size=2)
    server = FaultyServer({f"/images/{n}.jpg": data for n, data in enumerate(images)})
    lines = [json.dumps({"url": f"{server.url}/images/{n}.jpg", "text": f"Picture {n}."}) for n in range(8)]
    server.files |= {
        "/set.tar": (tmp_path / "made/00000.tar").read_bytes(),
        "/set.parquet": parquet.getvalue(),
        "/set.jsonl": "\n".join(lines).encode(),
    }
    for module, name, value in (
        (files, "SECONDS", 1.0),
        (retry, "PATIENCE", 15.0),
        (retry, "_FIRST", 0.05),
        (files, "BUFFER", 8192),
    ):
        monkeypatch.setattr(module, name, value)
    yield server
    server.shutdown()


def first_tries(*kinds: str | None) -> object:
    """The first tries at every range or file go wrong in these ways."""
    return lambda method, path, times: kinds[times - 1] if method == "GET" and "/set." in path and times <= len(kinds) else None


@pytest.mark.parametrize("name", ["set.tar", "set.parquet", "set.jsonl"])
@pytest.mark.parametrize("kinds", [("500", "cut"), ("cut", "503", "429"), ("stall",)])
def test_a_server_with_faults_costs_time_and_no_pair(
    server: FaultyServer, tmp_path: Path, name: str, kinds: tuple[str, ...]
) -> None:
    reading = ReadOptions(fetch="any")
    whole = run(f"{server.url}/{name}", tmp_path / "out", "naive", shard_size=5, reading=reading)
    assert (whole.pairs_out, whole.faults) == (8, ())
    server.asked.clear()
    server.fault = first_tries(*kinds)  # type: ignore[assignment]
    if "stall" in kinds:
        server.fault = lambda method, path, times: (
            "stall" if times == 1 and path == f"/{name}" and len(server.asked) < 9 else None
        )
    again = run(f"{server.url}/{name}", tmp_path / "again", "naive", shard_size=5, reading=reading)
    assert again.pairs_out == 8 and again.faults == ()
    assert digest(tmp_path / "again") == digest(tmp_path / "out")


def test_ranges_are_asked_for_again_where_they_were_cut(server: FaultyServer) -> None:
    server.fault = lambda method, path, times: (None, "cut", "short", None)[len(server.asked) % 4]
    with open_container(f"{server.url}/set.tar") as file:
        assert file.read() == server.files["/set.tar"]
        file.seek(-100, io.SEEK_END)
        assert file.read(200) == server.files["/set.tar"][-100:]


def test_a_server_that_stays_away_leaves_the_shard_undone(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "PATIENCE", 0.5)
    url = f"{server.url}/set.tar"
    server.fault = lambda method, path, times: "503"
    start = time.monotonic()
    with pytest.raises((RunError, OSError), match=r"set\.tar failed to the last of \d+ tries"):
        run(url, tmp_path / "none", "naive")
    assert not (tmp_path / "none").exists() and time.monotonic() - start < 20
    server.fault = lambda method, path, times: None
    run(url, tmp_path / "whole", "naive", shard_size=5)

    def show(progress: object) -> None:  # the plan is made, and the first shard begun
        server.fault = lambda method, path, times: "503"

    with pytest.raises(RunError, match=r"set\.tar failed to the last of"):
        run(url, tmp_path / "out", "naive", shard_size=5, show=show)
    server.fault = lambda method, path, times: None
    assert run(url, tmp_path / "out", "naive", shard_size=5).pairs_out == 8
    assert digest(tmp_path / "out") == digest(tmp_path / "whole") and verify(tmp_path / "out") == []


def test_what_is_not_there_or_not_ours_is_told_at_once(server: FaultyServer, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(UsageError, match=r"no such file or folder: .*none\.tar"):
        run(f"{server.url}/none.tar", tmp_path / "out", "naive")
    server.fault = lambda method, path, times: "403" if path == "/set.tar" else None
    summary = run([f"{server.url}/set.tar", f"{server.url}/set.parquet"], tmp_path / "out", "naive")
    assert [(fault.code, "the server says 403" in fault.message) for fault in summary.faults] == [("unreadable", True)]
    assert summary.pairs_out == 8 and time.monotonic() - start < 10


def test_a_web_server_lists_no_folder_but_has_the_images_of_its_table(server: FaultyServer, tmp_path: Path) -> None:
    for name in ("/", "/images", "/images/"):
        with pytest.raises(UsageError, match=r"(web servers don't list folders: name each file|no such file or folder)"):
            run(server.url + name, tmp_path / "out", "naive")
    server.files |= {"/folder": b"<a href='x.jpg'>", "/near.jsonl": b'{"image": "images/1.jpg", "text": "Near."}'}
    with pytest.raises(UsageError, match="web servers don't list folders: name each file"):
        run(f"{server.url}/folder", tmp_path / "out", "naive")
    assert run(f"{server.url}/near.jsonl", tmp_path / "near", "naive").pairs_out == 1


def test_a_server_without_ranges_is_not_taken_for_one(server: FaultyServer, tmp_path: Path) -> None:
    server.fault = lambda method, path, times: "whole"
    summary = run(f"{server.url}/set.tar", tmp_path / "out", "naive")
    assert summary.pairs_in == 0 and "no range requests" in summary.faults[0].message
    with pytest.raises(OSError, match="no range requests"), open_container(f"{server.url}/set.tar") as file:
        file.read(10)


def test_secrets_in_urls_are_told_nowhere(server: FaultyServer, tmp_path: Path) -> None:
    url = f"{server.url.replace('://', '://me:hidden2@')}/set.tar{SIGNED}"
    missing = url.replace("set.tar", "cut.tar")
    server.files["/cut.tar"] = server.files["/set.tar"][:-9000]
    summary = run([url, missing], tmp_path / "out", "naive", shard_size=5)
    assert summary.pairs_out > 8 and [fault.code for fault in summary.faults] == ["cut_tar"]
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    ledger = pq.read_table(tmp_path / "out/00000.parquet")["source"][0].as_py()
    assert ledger == f"{server.url}/set.tar?X-Amz-Signature=…&X-Amz-Expires=…&part=3"
    assert b"hidden" not in written and "hidden" not in json.dumps(summary.to_json())
    again = [one.replace("hidden1", "signed-anew") for one in (url, missing)]
    assert run(again, tmp_path / "out", "naive", shard_size=5).resumed == summary.shards


def test_what_counts_as_a_secret() -> None:
    assert secretless("https://a:b@h/x?sig=1&id=2#f and s3://k@b/c?token=3") == "https://h/x?sig=…&id=2#f and s3://b/c?token=…"
    for plain in ("a@b.c?sig=1", "https://host/a?id=7&page=2", "pairs/x.tar", "s3://bucket/key with space"):
        assert secretless(plain) == plain
