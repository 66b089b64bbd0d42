"""What can be opened: remote outputs through a bounded cache, and sets that Pairloom did not make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import picture, write_pairs
from torch_sets import prepared, write_raw

from pairloom import Letterbox, run
from pairloom.errors import UsageError
from pairloom.torch import Machine, PairLoader
from pairloom.torch.cache import Cache

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


@pytest.mark.parametrize("kind", ["imagefolder", "parquet"])
def test_hugging_face_sets_load_as_they_are(tmp_path: Path, kind: str) -> None:
    images = [picture(60 + 5 * number, 50, number) for number in range(9)] + [b"no image"]
    texts = [f"Picture number {number}." for number in range(10)]
    folder = tmp_path / "set"
    folder.mkdir()
    if kind == "parquet":
        cells = [{"bytes": data, "path": None} for data in images]
        pq.write_table(pa.table({"image": cells, "text": texts}), folder / "train.parquet", row_group_size=4)
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
