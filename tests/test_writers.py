"""What we write, read back with the tools it is for."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import webdataset
from conftest import write_pairs
from PIL import Image

from pairloom import Batch, Row, run
from pairloom.errors import RunError
from pairloom.writers.webdataset import _header, members


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_pairs(folder / "pairs", 12, bad=(5,))
    run(folder / "pairs", folder / "tars", shard_size=5)
    run(folder / "pairs", folder / "tables", shard_size=5, format="parquet")
    return folder


def ledger(output: Path) -> list[dict[str, object]]:
    return [row for path in sorted(output.glob("[0-9]*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_webdataset_reads_every_pair(made: Path) -> None:
    urls = [str(path) for path in sorted((made / "tars").glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    rows = ledger(made / "tars")
    assert [sample["__key__"] for sample in samples] == [row["key"] for row in rows]
    for sample, row in zip(samples, rows, strict=True):
        assert sample["jpg"].size == (row["width"], row["height"])
        assert sample["txt"] == row["caption"]
        assert sample["json"]["original_text"] == row["original_text"]


def test_datasets_reads_the_tars_with_one_schema(made: Path) -> None:
    datasets = pytest.importorskip("datasets")
    urls = [str(path) for path in sorted((made / "tars").glob("*.tar"))]
    read = datasets.load_dataset("webdataset", data_files=urls, split="train", cache_dir=str(made / "cache"))
    assert len(read) == 11
    assert isinstance(read[0]["jpg"], Image.Image)
    assert read[3]["txt"] == ledger(made / "tars")[3]["caption"]
    assert read[3]["json"]["geometry"] == ledger(made / "tars")[3]["geometry"]


def test_datasets_reads_the_parquet_with_an_image_column(made: Path) -> None:
    datasets = pytest.importorskip("datasets")
    read = datasets.load_dataset(str(made / "tables"), data_dir="data", split="train", cache_dir=str(made / "cache"))
    assert isinstance(read.features["image"], datasets.Image)
    assert read["key"][:] == [row["key"] for row in ledger(made / "tables")]
    assert read[2]["image"].size == (read[2]["width"], read[2]["height"])


def test_both_formats_hold_the_same_images(made: Path) -> None:
    table = pq.read_table(made / "tables" / "data" / "train-00001.parquet").to_pylist()
    with tarfile.open(made / "tars" / "00001.tar") as tar:
        for row in table:
            file = tar.extractfile(f"{row['key']}.jpg")
            assert file is not None
            assert file.read() == row["image"]["bytes"]


def test_tar_members_are_sorted_flat_and_without_a_trace_of_the_machine(made: Path) -> None:
    with tarfile.open(made / "tars" / "00000.tar") as tar:
        members = tar.getmembers()
    assert [member.name.split(".")[1] for member in members[:6]] == ["jpg", "json", "txt"] * 2
    assert {(m.mtime, m.uid, m.gid, m.mode, m.uname, m.isreg()) for m in members} == {(0, 0, 0, 0o644, "", True)}


def test_our_header_is_the_one_tarfile_writes() -> None:
    info = tarfile.TarInfo("000000003.jpg")
    info.size, info.mode = 123_456_789, 0o644
    theirs = tarfile.TarInfo.frombuf(info.tobuf(tarfile.USTAR_FORMAT), "utf-8", "strict")
    ours = tarfile.TarInfo.frombuf(_header(info.name, info.size), "utf-8", "strict")
    assert ours.get_info() == theirs.get_info()


def test_json_members_have_the_same_keys_and_no_nulls(made: Path) -> None:
    said = []
    for path in sorted((made / "tars").glob("*.tar")):
        with tarfile.open(path) as tar:
            said += [json.load(tar.extractfile(m)) for m in tar if m.name.endswith(".json")]  # type: ignore[arg-type]
    assert len({tuple(one) for one in said}) == 1
    assert all(value is not None for one in said for value in one.values())


def test_ledger_and_rejects_have_img2datasets_columns(made: Path) -> None:
    table = pq.read_table(made / "tars" / "00001.parquet")
    expected = {"key", "status", "error_message", "width", "height", "original_width", "original_height", "sha256"}
    assert expected <= set(table.column_names)
    assert set(table["status"].to_pylist()) == {"success"}
    stats = json.loads((made / "tars" / "00001_stats.json").read_text())
    assert (stats["count"], stats["successes"], stats["status_dict"]) == (5, 4, {"success": 4, "not_an_image": 1})
    [reject] = pq.read_table(made / "tars" / "rejects" / "00001.parquet").to_pylist()
    assert (reject["key"], reject["step"], reject["reason"]) == ("000010", "decode", "not_an_image")
    assert reject["source_key"] == "pair-005" and reject["original_text"].startswith("Picture number 5")


def test_stored_images_keep_their_ratio_and_carry_no_metadata(made: Path) -> None:
    with tarfile.open(made / "tars" / "00002.tar") as tar:
        data = tar.extractfile(tar.getmembers()[0]).read()  # type: ignore[union-attr]
    image = Image.open(io.BytesIO(data))
    assert image.size == (100, 80)
    assert not image.getexif() and "icc_profile" not in image.info


def test_members_of_our_tars_are_where_tarfile_finds_them(made: Path) -> None:
    path = made / "tars" / "00001.tar"
    with tarfile.open(path) as tar, path.open("rb") as file:
        found = list(members(file))
        assert [(name, start) for name, start, _ in found] == [(member.name, member.offset) for member in tar]
    assert [end for _, _, end in found[:-1]] == [start for _, start, _ in found[1:]]


@pytest.mark.parametrize("place", [0, 126, 150, 300])
def test_a_damaged_header_of_ours_is_no_end_of_the_shard(made: Path, place: int) -> None:
    data = bytearray((made / "tars" / "00001.tar").read_bytes())
    *_, (_, start, _) = members(io.BytesIO(data))
    data[start + place] ^= 0x11
    with pytest.raises(RunError, match=f"from byte {start} on"):
        list(members(io.BytesIO(data)))


def test_a_batch_holds_files_as_they_were_read() -> None:
    files = [b"one", None, b"", b"x" * 100_000, None]
    batch = Batch.read([str(row) for row in range(5)], [Row("", "", data) for data in files])
    assert batch["image"] == files
    assert batch.take([3, 1, 0])["image"] == [files[3], None, b"one"]
    assert batch.with_columns({}, image=reversed(files))["image"] == files[::-1]
    batch.table.validate(full=True)
