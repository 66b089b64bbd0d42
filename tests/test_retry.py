"""`--retry-rejects`: what may pass is tried again in new shards; old ones stay, and every pair counts once, whatever happens."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import picture
from poison import Poison, poisoned
from test_run import digest

from pairloom import ReadOptions, Summary, UsageError, repair, run, verify
from pairloom.finished import Finished
from pairloom.readers import fetch
from pairloom.step import STEPS


class Server(BaseHTTPRequestHandler):
    """Gives pictures by number, but for those in `down`."""

    down: frozenset[int] = frozenset()

    def do_GET(self) -> None:
        number = int(self.path.strip("/"))
        data = b"" if number in self.down else picture(90, 60, number)
        self.send_response(200 if data else 503)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(fetch, "_PAUSE", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def table(folder: Path, count: int, missing: tuple[int, ...] = (), name: str = "pairs") -> Path:
    """A table of image files, some of which are not there, and one which is no image."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        if number not in missing:
            data = b"<html>" if number == 1 else picture(90, 60, number + len(name) * 1000)
            (folder / f"{name}{number}.jpg").write_bytes(data)
    lines = [f"{name}{number}.jpg,Picture {number} of {name}." for number in range(count)]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(["image,text", *lines]) + "\n")
    return path


def there(folder: Path, *numbers: int) -> None:
    for number in numbers:
        (folder / f"pairs{number}.jpg").write_bytes(picture(90, 60, number + 5000))


def once(output: Path, summary: Summary) -> Counter[str]:
    """Insist on it that each pair is once kept or, by its last try, rejected; gives what is kept, by shard."""
    assert summary.pairs_in == summary.pairs_out + summary.pairs_rejected
    assert Finished.read(output).summary().to_json()["reasons"] == summary.to_json()["reasons"]
    assert verify(output) == []
    kept: Counter[str] = Counter()
    names: list[str] = []
    rejected = Counter[str]()
    for path in sorted(output.glob("0*.parquet")):
        names += pq.read_table(path)["original_text"].to_pylist()
        kept[path.stem] = pq.read_metadata(path).num_rows
    for path in sorted((output / "rejects").glob("*.parquet")):
        rejected.update(set(pq.read_table(path)["original_text"].to_pylist()))
    assert len(set(names)) == len(names) == summary.pairs_out
    assert len(set(names) | set(rejected)) == summary.pairs_in
    return kept


def old(output: Path, shards: int) -> dict[str, bytes]:
    """All files of the first shards."""
    numbers = {f"{shard:05d}" for shard in range(shards)}
    return {name: data for name, data in digest(output).items() if Path(name).name[:5] in numbers}


def test_urls_that_failed_are_fetched_again(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{server}/{number},Picture {number}." for number in range(12)]
    (tmp_path / "urls.csv").write_text("\n".join(["url,text", *rows]) + "\n")

    def go(**options: object) -> Summary:
        return run(tmp_path / "urls.csv", tmp_path / "out", "naive", shard_size=5, reading=ReadOptions(fetch="any"), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Server, "down", frozenset({0, 3, 7, 8, 11}))
    assert go().reasons == {"http_status": 5}
    before = old(tmp_path / "out", 3)
    monkeypatch.setattr(Server, "down", frozenset({3, 11}))
    summary = go(retry_rejects=True)
    assert (summary.pairs_in, summary.pairs_out, summary.reasons, summary.shards) == (12, 10, {"http_status": 2}, 4)
    assert old(tmp_path / "out", 3) == before
    assert once(tmp_path / "out", summary)["00003"] == 3
    monkeypatch.setattr(Server, "down", frozenset())
    assert go().pairs_out == 10  # without the option nothing is tried again
    summary = go(retry_rejects=True)
    assert (summary.pairs_out, summary.pairs_rejected, summary.shards) == (12, 0, 5)
    assert once(tmp_path / "out", summary)["00004"] == 2
    after = digest(tmp_path / "out")
    assert go(retry_rejects=True).shards == 5 and digest(tmp_path / "out") == after


@pytest.mark.parametrize("recipe", ["naive", "letterbox"])
def test_killed_in_the_middle_extended_and_repaired(tmp_path: Path, recipe: str) -> None:
    pairs, out = table(tmp_path / "in", 11, missing=(0, 4, 5, 6, 9)), tmp_path / "out"

    def go(*more: Path, **options: object) -> Summary:
        return run([pairs, *more], out, recipe, shard_size=4, max_reject=0.9, **options)  # type: ignore[arg-type]

    first = go()
    assert first.reasons == {"missing_image": 5, "not_an_image": 1}
    before = old(out, 3)
    there(tmp_path / "in", 0, 4, 5, 6)
    summary = go(retry_rejects=True)
    assert (summary.pairs_in, summary.pairs_out, summary.shards) == (11, 9, 5)
    assert summary.reasons == {"missing_image": 1, "not_an_image": 1}
    assert once(out, summary) == {"00000": 2, "00001": 1, "00002": 2, "00003": 4, "00004": 0}
    whole = digest(out)
    assert {name: whole[name] for name in before} == before
    for option in (False, True):  # as if it had been killed before the commit of shard 3
        for name in ("manifest/00003.json", "staged/manifest/00003.json", "SHA256SUMS"):
            (out / name).unlink(missing_ok=True)
        assert go(retry_rejects=option).shards == 5
        assert digest(out) == whole
    (out / "00001.tar").write_bytes(b"")
    (out / "00003.parquet").unlink()
    (out / "staged/manifest/00001.json").unlink(missing_ok=True)
    assert (
        repair(out).to_json()["reasons"] == summary.to_json()["reasons"]
    )  # the rows that are there by now stay in shard 3 alone
    assert digest(out) == whole
    more = table(tmp_path / "in", 6, missing=(3,), name="more")
    with pytest.raises(UsageError, match="--extend"):
        go(more, retry_rejects=True)
    summary = go(more, extend=True)
    assert (summary.pairs_in, summary.pairs_out, summary.shards) == (17, 13, 7)
    there(tmp_path / "in", 9)
    summary = go(more, retry_rejects=True)
    assert (summary.pairs_in, summary.pairs_out, summary.shards) == (17, 14, 9)
    once(out, summary)
    assert {name: data for name, data in digest(out).items() if name in before} == before
    assert go(more, restart=True).shards == 5


def test_pairs_that_ended_their_process_are_tried_again_with_care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, "poison", Poison)
    pairs, out, recipe = table(tmp_path / "in", 8), tmp_path / "out", poisoned("crashes", "000000", "000002", "000020")
    assert run(pairs, out, recipe, shard_size=4, workers=2).reasons["crashed"] == 2
    before = old(out, 2)
    summary = run(pairs, out, recipe, shard_size=4, retry_rejects=True)  # in this very process, which must not die
    assert summary.reasons == {"not_an_image": 1, "crashed": 1} and summary.pairs_out == 6
    assert once(out, summary)["00002"] == 1 and old(out, 2) == before


def test_where_it_makes_no_sense_it_is_refused(tmp_path: Path) -> None:
    pairs = table(tmp_path / "in", 4, missing=(2,))
    for options in ({"restart": True}, {"extend": True}):
        with pytest.raises(UsageError, match="is for an output as it is"):
            run(pairs, tmp_path / "out", "naive", retry_rejects=True, **options)
    run([pairs, pairs], tmp_path / "twice", "naive")
    with pytest.raises(UsageError, match="which the input names twice"):
        run([pairs, pairs], tmp_path / "twice", "naive", retry_rejects=True)
    assert run([pairs, pairs], tmp_path / "twice", "naive").shards == 2


def test_the_command(tmp_path: Path) -> None:
    pairs = table(tmp_path / "in", 6, missing=(2, 5))
    command = [sys.executable, "-m", "pairloom", "run", str(pairs), str(tmp_path / "out"), "--recipe", "naive", "--retry-rejects"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120
    )  # nothing there yet: the same as without
    assert "6 pairs in = 3 ready + 3 rejected  (1 shard," in done.stderr
    there(tmp_path / "in", 2, 5)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "6 pairs in = 5 ready + 1 rejected  (2 shards, 1 of them from before" in done.stderr
