"""Folders behind URLs: the same pairs, keys and faults as the same folder here; a word where a server can't list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import picture

from pairloom import run
from pairloom.errors import UsageError
from pairloom.readers.model import ReadOptions
from pairloom.readers.taken import taken
from pairloom.verify import verify


def plant(folder: Path) -> Path:
    """A folder with what folders hold: pairs at several depths, halves of pairs, odd names, and what doesn't count."""
    files: dict[str, bytes] = {f"{n:02d}.jpg": picture(60 + n, 50, n) for n in range(6)}
    files |= {f"{n:02d}.txt": f"Picture {n}.".encode() for n in range(5)}
    files |= {"b/x.png": picture(30, 20, 1), "b/x.json": json.dumps({"caption": "From JSON.", "licence": "CC0"}).encode()}
    files |= {"b/deep/y.jpg": picture(31, 20, 2), "b/deep/y.caption": b"A caption.", "b/deep/y.jpeg": picture(32, 20, 3)}
    files |= {"a/图 [1] 50%#.jpg": picture(33, 20, 4), "a/图 [1] 50%#.txt": "一张图。".encode(), "a/alone.txt": b"No image."}
    files |= {"a/not.jpg": b"no image at all", "a/not.txt": b"A text.", "a/broken.json": b"{", "a/broken.jpg": picture(34, 20, 5)}
    files |= {".hidden.jpg": b"x", ".lock": b"x", ".cache/z.jpg": picture(35, 20, 6), "readme.md": b"x", "b/list.csv": b"x"}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def upload(folder: Path, url: str) -> None:
    """Put all files of a folder behind a URL."""
    system, root = fsspec.core.url_to_fs(url)
    for file in sorted(folder.rglob("*"), reverse=True):  # not in the order in which they are read
        if file.is_file():
            system.pipe_file(f"{root}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def said(output: Path) -> dict[str, list[dict[str, Any]]]:
    """All that ledgers and rejects say of the pairs, but for where they come from, by file."""
    tables = {str(path.relative_to(output)): pq.read_table(path) for path in sorted(output.rglob("0*.parquet"))}
    return {name: [{**row, "source": "", "message": ""} for row in table.to_pylist()] for name, table in tables.items()}


@pytest.fixture
def url() -> Iterator[str]:
    yield "memory://folders/set"
    fsspec.filesystem("memory").rm("/folders", recursive=True)


def test_a_folder_in_a_store_is_read_as_one_here(tmp_path: Path, url: str) -> None:
    folder = plant(tmp_path / "set")
    upload(folder, url)
    options: dict[str, Any] = {"recipe": "naive", "shard_size": 4, "max_reject": 1.0}
    here = run(folder, tmp_path / "here", **options)
    there = run(f"{url}/", tmp_path / "there", **options)
    assert there.pairs_in == here.pairs_in == 13 and there.pairs_out == here.pairs_out > 6 and there.reasons == here.reasons
    assert said(tmp_path / "there") == said(tmp_path / "here") and verify(tmp_path / "there") == []
    [container] = json.loads((tmp_path / "there/plan.json").read_text())["containers"]
    assert (container["kind"], container["name"]) == ("folder", f"{url}/")
    looks = [next(iter(taken(str(name), ReadOptions()))) for name in (folder, url)]
    assert looks[0].fields == looks[1].fields and looks[0].passed_over == looks[1].passed_over == {"md": 1, "csv": 1}

    again = run(f"{url}/", tmp_path / "there", **options)
    assert again.resumed == again.shards
    fsspec.filesystem("memory").pipe_file("/folders/set/00.txt", b"Another text.")
    with pytest.raises(UsageError, match="has changed"):
        run(f"{url}/", tmp_path / "there", **options)


def test_a_table_in_a_store_names_images_beside_it_and_none_of_this_machine(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    (tmp_path / "outside.jpg").write_bytes(picture(40, 30, 9))
    for n in range(3):
        (folder / f"images/{n}.jpg").write_bytes(picture(40, 30, n))
    names = ["images/0.jpg", "./images/1.jpg", "images/../images/2.jpg", "images/3.jpg"]
    away = [str(tmp_path / "outside.jpg"), "../../../outside.jpg", "../../etc/0.jpg", "images"]
    lines = [json.dumps({"file_name": name, "text": f"Text {n}."}) for n, name in enumerate([*names, *away])]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    upload(folder, url)
    fsspec.filesystem("memory").pipe_file("/etc/0.jpg", picture(40, 30, 8))  # in another bucket
    there = run(url, tmp_path / "there", "naive", max_reject=1.0)
    assert there.pairs_out == 3 and there.pairs_rejected == 5
    rows = pq.read_table(tmp_path / "there/00000.parquet").to_pylist()
    assert [row["source_key"] for row in rows] == names[:3]
    rejects = pq.read_table(tmp_path / "there/rejects/00000.parquet").to_pylist()
    assert {row["reason"] for row in rejects} <= {"missing_image", "unreadable"}


@pytest.mark.parametrize("place", ["", "data/"])
def test_tars_and_tables_in_a_folder_of_a_store(tmp_path: Path, url: str, place: str) -> None:
    folder = tmp_path / "set" / place
    folder.mkdir(parents=True)
    for part in range(2):
        images = pa.array([picture(40, 30, part), picture(40, 30, part + 5)], pa.binary())
        pq.write_table(pa.table({"image": images, "text": ["One.", "Two."]}), folder / f"{part}.parquet")
    upload(tmp_path / "set", url)
    assert run(url, tmp_path / "out", "naive").pairs_out == 4
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    assert [one["name"] for one in plan["containers"]] == [f"{url}/{place}{part}.parquet" for part in range(2)]


def test_what_can_not_be_is_told(tmp_path: Path, url: str) -> None:
    upload(plant(tmp_path / "set"), url)
    with pytest.raises(UsageError, match=r"memory://folders/set/out lies inside the input memory://folders/set; choose"):
        run(url, f"{url}/out", "naive")
    with pytest.raises(UsageError, match="no such file or folder: 'memory://folders/nothing'"):
        run("memory://folders/nothing", tmp_path / "out", "naive")
    fsspec.filesystem("memory").pipe_file("/folders/empty/readme.md", b"x")
    with pytest.raises(UsageError, match="holds no images, tars or tables"):
        run("memory://folders/empty", tmp_path / "out", "naive")
    assert not (tmp_path / "out").exists()
