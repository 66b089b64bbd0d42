"""What can be opened: remote outputs through a bounded cache, and sets that Pairloom did not make."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import picture, write_pairs
from torch_sets import prepared, recipe, write_raw

from pairloom import Letterbox, run
from pairloom.errors import UsageError
from pairloom.readers import webdataset
from pairloom.torch import Machine, PairLoader
from pairloom.torch.cache import Cache
from pairloom.writers.parts import PRIVATE

SMALL = Letterbox(32)


def test_a_remote_output_gives_what_the_local_one_does(tmp_path: Path) -> None:
    output = prepared(tmp_path)
    memory = fsspec.filesystem("memory")
    memory.put(str(output), "/remote-set", recursive=True)
    machine = Machine(cache=tmp_path / "cache")
    local, remote = (PairLoader(path, 8, image=SMALL, machine=machine) for path in (output, "memory://remote-set"))
    assert [batch["keys"] for batch in local] == [batch["keys"] for batch in remote]
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 3


def test_an_output_that_lost_pairs_in_one_shard_to_a_selection(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", 8)
    for suffix in ("jpg", "txt"):
        shutil.copy(folder / f"pair-000.{suffix}", folder / f"pair-007.{suffix}")
    assert run(folder, tmp_path / "out", "letterbox", shard_size=4).reasons == {"duplicate": 1}
    assert len({key for batch in PairLoader(tmp_path / "out", 7, image=SMALL) for key in batch["keys"]}) == 7


def test_a_state_outlives_a_move(tmp_path: Path) -> None:
    output = prepared(tmp_path)
    state = PairLoader(output, 8, image=SMALL).state_dict()
    output.rename(tmp_path / "moved")
    PairLoader(tmp_path / "moved", 8, image=SMALL).load_state_dict(state)


def test_the_cache_keeps_to_its_limit(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for number in range(5):
        memory.pipe(f"/file-{number}.tar", bytes([number]) * 1000)
    cache = Cache(tmp_path / "cache", 2500)
    held = cache.open("memory://file-0.tar")
    for number in range(5):
        with cache.open(f"memory://file-{number}.tar") as file:
            assert file.read() == bytes([number]) * 1000
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 2
    assert held.read() == bytes(1000)  # who has a file open can go on reading it


@pytest.mark.parametrize("kind", ["imagefolder", "parquet", "hub"])
def test_hugging_face_sets_load_as_they_are(tmp_path: Path, kind: str) -> None:
    images = [picture(60 + 5 * number, 50, number) for number in range(9)] + [b"no image"]
    texts = [f"Picture number {number}." for number in range(10)]
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    if kind != "imagefolder":
        cells = [{"bytes": data, "path": None} for data in images]
        pq.write_table(
            pa.table({"image": cells, "text": texts}),
            folder / ("data" if kind == "hub" else "") / "train.parquet",
            row_group_size=4,
        )
    else:
        for number, data in enumerate(images):
            (folder / f"{number}.jpg").write_bytes(data)
        lines = [json.dumps({"file_name": f"{number}.jpg", "text": text}) for number, text in enumerate(texts)]
        (folder / "metadata.jsonl").write_text("\n".join(lines))
    loader = PairLoader(folder, 3, image=SMALL)
    assert len(loader.index) == 9 and loader.stats()["skipped"] == 1
    assert sorted(loader.index.size[:, 0]) == [60 + 5 * number for number in range(9)]
    batches = list(loader)
    assert len({key for batch in batches for key in batch["keys"]}) == 9
    assert loader.stats()["replaced"] == 0


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="loose images"):
        PairLoader(write_raw(tmp_path / "raw", 3), 2)
    output = prepared(tmp_path / "one", 5)
    tar = tmp_path / "cut.tar"
    shutil.copy(output / "00000.tar", tar)
    tar.write_bytes(tar.read_bytes()[:9000])
    with pytest.raises(UsageError, match="is damaged"):
        PairLoader(tar, 2)
    with pytest.raises(UsageError, match="no such file or folder"):
        PairLoader(tmp_path / "nothing", 2)


def _many(tmp_path: Path) -> Path:
    output = tmp_path / "prepared"
    run(write_raw(tmp_path / "raw", 40), output, recipe(), shard_size=4)
    return output


def test_copies_that_were_deleted_take_up_no_room(tmp_path: Path) -> None:
    """A deleted file takes up room as long as someone has it open."""
    output, folder = _many(tmp_path), tmp_path / "cache"
    fsspec.filesystem("memory").put(str(output), "/bounded-set", recursive=True)
    limit = 3 * max(path.stat().st_size for path in output.glob("*.tar"))
    loader = PairLoader("memory://bounded-set", 4, image=SMALL, machine=Machine(cache=str(folder), cache_bytes=limit))
    for _ in loader:
        held = sum(os.fstat(file.fileno()).st_size for file in loader._work.pairs._files.values())
        assert max(held, sum(path.stat().st_size for path in folder.glob("*.tar"))) <= limit
    assert loader.stats()["replaced"] == 0


def test_what_a_dead_process_left_in_the_cache_goes(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/file.tar", bytes(1000))
    cache = Cache(tmp_path / "cache", 2500)
    with pytest.raises(FileNotFoundError):
        cache.open("memory://no-such-file.tar")
    left = tmp_path / "cache" / f"0123.tar{PRIVATE}1"
    left.write_bytes(bytes(5000))
    cache.open("memory://file.tar").close()
    assert not left.exists() and len(list((tmp_path / "cache").glob("*.tar"))) == 1


def test_remote_tars_of_others_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = _many(tmp_path)
    memory = fsspec.filesystem("memory")
    memory.put(str(output / "00000.tar"), "/foreign/a.tar")
    memory.put(str(output / "00001.tar"), "/foreign/b.tar")
    names, machine = ["memory://foreign/a.tar", "memory://foreign/b.tar"], Machine(cache=tmp_path / "cache")
    loader = PairLoader(names, 4, image=SMALL, machine=machine)
    fetched: list[str] = []
    fetch = Cache._fetch
    monkeypatch.setattr(Cache, "_fetch", lambda cache, name, path: (fetched.append(name), fetch(cache, name, path)))
    monkeypatch.setattr(webdataset, "open_container", None)  # nothing else may open them
    first = [batch["keys"] for _ in range(2) for batch in loader]
    assert len(first) == 4 and sorted(fetched) == names and loader.stats()["replaced"] == 0


def test_a_remote_tar_that_changed_is_fetched_anew(tmp_path: Path) -> None:
    output = _many(tmp_path)
    memory = fsspec.filesystem("memory")
    machine = Machine(cache=tmp_path / "cache")
    seen = []
    for shard in ("00000.tar", "00001.tar"):
        memory.put(str(output / shard), "/changing.tar")
        batches = list(PairLoader("memory://changing.tar", 4, image=SMALL, machine=machine))
        seen.append({key for batch in batches for key in batch["keys"]})
    assert len(seen[0]) == len(seen[1]) == 4 and not seen[0] & seen[1]


def test_a_plan_or_manifest_of_nothing_is_told(tmp_path: Path) -> None:
    output = prepared(tmp_path, 5)
    plan = json.loads((output / "plan.json").read_text())
    manifest = output / "manifest" / "00000.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "files": [1]}))
    with pytest.raises(UsageError, match="manifest of shard 0 can't be used"):
        PairLoader(output, 2)
    (output / "plan.json").write_text(json.dumps({**plan, "shards": []}))
    with pytest.raises(UsageError, match="not one pair"):
        PairLoader(output, 2)
