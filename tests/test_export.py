"""Each layout is read back: with the tool it is for where that is installed, byte by byte where it isn't."""

from __future__ import annotations

import csv
import io
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
import xxhash
from conftest import write_pairs
from PIL import Image

from pairloom import Recipe, RunError, UsageError, export, run
from pairloom.export import FORMATS
from pairloom.finished import Finished
from pairloom.readers import plan, read

RECIPE = "steps: [decode, clean, segment, {truncate: {max_tokens: 20}}, {contain: {longest: 48}}, {encode: {format: %s}}]"


@pytest.fixture(scope="module", params=["webdataset", "parquet"])
def output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of pairs, the second with one, the texts in two scripts and with the letters that tables quote."""
    root = tmp_path_factory.mktemp("export")
    write_pairs(root / "pairs", 9, bad=(3,))
    (root / "pairs" / "pair-000.txt").write_text('两只猫。 A "quoted" <image> text,\twith all.', "utf-8")
    run(root / "pairs", root / "out", Recipe.from_yaml(RECIPE % "jpeg"), shard_size=5, format=request.param)
    return root / "out"


def pairs_of(output: Path) -> dict[str, tuple[bytes, str]]:
    """Image and caption by key, as they were prepared."""
    done = Finished.read(output)
    batches = [batch for index in done.shards for batch in done.batches(index)]
    return {
        key: (image, caption)
        for batch in batches
        for key, image, caption in zip(batch["key"], batch["image"], batch["caption"], strict=True)
    }


@pytest.fixture
def made(output: Path, tmp_path: Path) -> Any:
    def make(to: str) -> tuple[Path, dict[str, tuple[bytes, str]]]:
        pairs = pairs_of(output)
        assert export(output, tmp_path / to, to) == len(pairs) == 8
        return tmp_path / to, pairs

    return make


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def samples_of(path: Path, columns: int) -> list[list[bytes]]:
    """The cells of an MDS shard, by the letter of the format."""
    data = path.read_bytes()
    [count] = struct.unpack_from("<I", data)
    offsets = struct.unpack_from(f"<{count + 1}I", data, 4)
    assert offsets[-1] == len(data)
    head = data[4 * (count + 2) : offsets[0]]
    assert list(json.loads(head)) == sorted(json.loads(head))
    samples = []
    for start in offsets[:-1]:
        sizes, place, cells = struct.unpack_from(f"<{columns}I", data, start), start + 4 * columns, []
        for size in sizes:
            cells.append(data[place : place + size])
            place += size
        samples.append(cells)
    return samples


def test_mds(made: Any) -> None:
    folder, pairs = made("mds")
    index = json.loads((folder / "index.json").read_text())
    [shard] = index["shards"]
    assert shard["column_names"] == ["caption", "image", "key", "meta"] and index["version"] == 2
    assert shard["column_encodings"] == ["str", "jpeg", "str", "json"] and shard["samples"] == 8
    data = (folder / "shard.00000.mds").read_bytes()
    assert shard["raw_data"] == {
        "basename": "shard.00000.mds",
        "bytes": len(data),
        "hashes": {"xxh64": xxhash.xxh64_hexdigest(data)},
    }
    samples = samples_of(folder / "shard.00000.mds", 4)
    assert {key.decode(): (image, caption.decode()) for caption, image, key, _ in samples} == pairs
    assert json.loads(samples[0][3])["original_text"].startswith("两只猫")


def test_mds_begins_a_shard_before_the_limit(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["pairloom.export.mds"], "_LIMIT", 8000)
    export(output, tmp_path / "mds", "mds")
    shards = json.loads((tmp_path / "mds" / "index.json").read_text())["shards"]
    assert len(shards) > 1 and sum(shard["samples"] for shard in shards) == 8
    assert all(shard["raw_data"]["bytes"] <= 8000 for shard in shards)
    keys = [cells[2].decode() for shard in shards for cells in samples_of(tmp_path / "mds" / shard["raw_data"]["basename"], 4)]
    assert keys == list(pairs_of(output))


def test_mds_with_streaming_itself(made: Any) -> None:
    streaming = pytest.importorskip("streaming")
    folder, pairs = made("mds")
    found = streaming.StreamingDataset(local=str(folder), batch_size=1, shuffle=False)
    assert {sample["key"]: sample["caption"] for sample in found} == {key: caption for key, (_, caption) in pairs.items()}


def test_huggingface(made: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder, pairs = made("huggingface")
    assert sorted(path.name for path in (folder / "data").iterdir()) == [f"train-{i:05d}-of-00002.parquet" for i in range(2)]
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert isinstance(found.features["image"], datasets.Image)
    assert {row["key"]: row["text"] for row in found} == {key: caption for key, (_, caption) in pairs.items()}
    assert (np.asarray(found[0]["image"]) == pixels(pairs[found[0]["key"]][0])).all()


def test_imagefolder(made: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder, pairs = made("imagefolder")
    found = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert isinstance(found.features["image"], datasets.Image)
    assert {row["key"]: row["text"] for row in found} == {key: caption for key, (_, caption) in pairs.items()}
    assert (np.asarray(found[0]["image"]) == pixels(pairs[found[0]["key"]][0])).all()


def test_llava(made: Any) -> None:
    folder, pairs = made("llava")
    records = json.loads((folder / "llava.json").read_text("utf-8"))
    assert [record["id"] for record in records] == list(pairs)
    for record, (image, caption) in zip(records, pairs.values(), strict=True):
        assert (folder / "images" / record["image"]).read_bytes() == image
        human, model = record["conversations"]
        assert human == {"from": "human", "value": "<image>\nDescribe the image briefly."}
        assert model == {"from": "gpt", "value": caption.replace("<image>", "image")}
    messages = json.loads((folder / "messages.json").read_text("utf-8"))
    assert messages[0]["messages"][0]["content"].count("<image>") == 1
    assert all((folder / record["images"][0]).is_file() for record in messages)
    for name in ("llava.json", "messages.json"):
        rows = [row for shard in plan(str(folder / name)).shards for row in read(shard)]
        assert [(row.image, row.texts[0]) for row in rows] == [(i, t.replace("<image>", "image")) for i, t in pairs.values()]


def test_csv_as_open_clip_reads_it(made: Any) -> None:
    pandas = pytest.importorskip("pandas")
    folder, pairs = made("csv")
    table = pandas.read_csv(folder / "pairs.tsv", sep="\t")
    assert table["title"].tolist() == [caption for _, caption in pairs.values()]
    assert [(folder / path).read_bytes() for path in table["filepath"]] == [image for image, _ in pairs.values()]
    with (folder / "pairs.tsv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file, delimiter="\t"))) == 9


def test_datacomp(made: Any) -> None:
    folder, pairs = made("datacomp")
    rows = [row for path in sorted((folder / "metadata").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert [row["text"] for row in rows] == [caption for _, caption in pairs.values()]
    assert list(rows[0]) == [
        *("uid", "url", "text", "original_width", "original_height"),
        *("clip_no_similarity_score", "face_bboxes", "sha256"),
    ]
    uids = np.load(folder / "subset.npy")
    assert uids.dtype == np.dtype("u8,u8") and uids.tolist() == sorted(uids.tolist())
    assert {f"{high:016x}{low:016x}" for high, low in uids.tolist()} == {row["uid"] for row in rows}
    shards = sorted(str(path) for path in (folder / "shards").glob("*.tar"))
    assert [Path(path).name for path in shards] == ["00000000.tar", "00000001.tar"]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert [json.loads(sample["json"])["uid"] for sample in samples] == [row["uid"] for row in rows]
    assert [(sample["jpg"], sample["txt"].decode()) for sample in samples] == list(pairs.values())
    assert sum(json.loads((folder / "shards" / "sizes.json").read_text()).values()) == 8


def test_datacomp_keeps_the_uids_of_the_input(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", 3)
    lines = [{"image": f"pair-{n:03d}.jpg", "text": "Some words.", "uid": f"{n:032x}", "url": f"http://x/{n}"} for n in range(3)]
    (tmp_path / "pairs" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run(tmp_path / "pairs", tmp_path / "out", Recipe.from_yaml(RECIPE % "webp"))
    export(tmp_path / "out", tmp_path / "dc", "datacomp")
    rows = pq.read_table(tmp_path / "dc" / "metadata" / "00000.parquet").to_pylist()
    assert [(row["uid"], row["url"]) for row in rows] == [(line["uid"], line["url"]) for line in lines]
    export(tmp_path / "out", tmp_path / "mds", "mds")
    assert json.loads((tmp_path / "mds" / "index.json").read_text())["shards"][0]["column_encodings"][1] == "bytes"


def test_croissant_says_what_is_there(made: Any) -> None:
    folder, pairs = made("croissant")
    about = json.loads((folder / "croissant.json").read_text("utf-8"))
    assert about["conformsTo"] == "http://mlcommons.org/croissant/1.0" and about["name"] == "croissant"
    files = [one for one in about["distribution"] if one["@type"] == "cr:FileObject"]
    assert len(files) == 2 and all((folder / one["contentUrl"]).is_file() for one in files)
    columns = [field["source"]["extract"]["column"] for field in about["recordSet"][0]["field"]]
    table = pq.read_table(folder / "data")
    assert set(columns) <= set(table.column_names) and table.num_rows == len(pairs)


def test_croissant_with_its_own_tool(made: Any) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    folder, pairs = made("croissant")
    found = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not found.metadata.issues.errors
    assert [record["pairs/key"].decode() for record in found.records("pairs")] == list(pairs)


def test_what_can_not_be_exported(output: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mds, huggingface"):
        export(output, tmp_path / "x", "zip")
    with pytest.raises(UsageError, match="no output"):
        export(tmp_path, tmp_path / "x", "mds")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(UsageError, match="not an empty folder"):
        export(output, tmp_path / "full", "mds")
    (tmp_path / "empty").mkdir()
    assert export(output, tmp_path / "empty", "csv") == 8


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", 4)
    run(tmp_path / "pairs", tmp_path / "out", Recipe.from_yaml(RECIPE % "jpeg"), shard_size=2)
    (tmp_path / "out" / "00001.tar").write_bytes((tmp_path / "out" / "00000.tar").read_bytes())
    for to in FORMATS:
        with pytest.raises(RunError, match="not what its ledger says"):
            export(tmp_path / "out", tmp_path / "x", to)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pairs"]
    (tmp_path / "out" / "manifest" / "00001.json").unlink()
    with pytest.raises(RunError, match="not complete"):
        export(tmp_path / "out", tmp_path / "x", "mds")


def test_an_empty_output(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", 2, bad=(0, 1))
    run(tmp_path / "pairs", tmp_path / "out", Recipe.from_yaml(RECIPE % "jpeg"), max_reject=1)
    for to in FORMATS:
        assert export(tmp_path / "out", tmp_path / to, to) == 0
    assert json.loads((tmp_path / "llava" / "llava.json").read_text()) == []
