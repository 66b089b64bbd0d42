"""The loader over real shards: resume at every position, workers and ranks, bad pairs, damaged sets, dead workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from torch_sets import prepared, recipe, write_raw

from pairloom import Letterbox, NativePatches, run
from pairloom.errors import RunError, UsageError
from pairloom.models.reader import TextReader
from pairloom.torch import Augment, Batching, Choice, Collate, Machine, PairLoader, aspect_buckets

SMALL = Letterbox(48)
LIMIT = 60  # seconds, after which a test that started processes fails


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("set"))


def keys(batches: Any) -> list[list[str]]:
    return [batch["keys"] for batch in batches]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(torch.nan_to_num(value), torch.nan_to_num(other[name]))
        if isinstance(value, torch.Tensor)
        else value == other[name]
        for name, value in one.items()
    )


def test_a_batch_holds_what_was_prepared(output: Path) -> None:
    loader = PairLoader(output, 8)
    batch = next(iter(loader))
    assert batch["pixel_values"].shape == (8, 3, 224, 224) and batch["pixel_values"].dtype == torch.float32
    assert batch["pixel_mask"].dtype == torch.bool and batch["input_ids"].shape[1] % 8 == 0
    assert (batch["input_ids"][:, 0] == 49406).all() and (batch["segment_ids"] == batch["attention_mask"]).all()
    assert batch["alignment"].isnan().all() and len(loader) == 5


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_both_formats_give_the_same_batches(tmp_path: Path, output: Path, format: str) -> None:
    other = prepared(tmp_path, format=format)
    ours, theirs = (list(PairLoader(path, 8, image=SMALL, augment=Augment())) for path in (output, other))
    assert all(map(same, ours, theirs))


@pytest.mark.parametrize("position", range(6))
def test_resume_at_every_position_gives_the_identical_rest(output: Path, position: int) -> None:
    options: dict[str, Any] = {
        "augment": Augment(brightness=0.3, blur=0.5, flip=0.5),
        "choice": Choice(sentence=1, run=1),
        "seed": 5,
    }
    loader = PairLoader(output, Batching(7, pool=15, block=4), image=SMALL, **options)
    loader.set_epoch(3)
    whole = list(loader)
    loader.set_epoch(3)
    batches = iter(loader)
    for _ in range(position):
        next(batches)
    state = json.loads(json.dumps(loader.state_dict()))
    other = PairLoader(output, Batching(7, pool=15, block=4), image=SMALL, **options)
    other.load_state_dict(state)
    other.set_epoch(state["epoch"])  # as training loops do
    rest = list(other)
    expected = whole[position:] if position < 6 else list(loader)
    assert len(rest) == len(expected) and all(map(same, rest, expected))


def test_any_number_of_workers_gives_the_same(output: Path) -> None:
    loaders = [
        PairLoader(output, 8, image=SMALL, augment=Augment(), machine=Machine(workers=workers, timeout=LIMIT))
        for workers in (0, 1, 2)
    ]
    epochs = [[*loader, *loader] for loader in loaders]  # two epochs: the workers live on
    for other in epochs[1:]:
        assert all(map(same, epochs[0], other))
    for loader in loaders:
        next(iter(loader))  # broken off while the workers are ahead
        loader.load_state_dict(loader.state_dict())
    rest = [list(loader) for loader in loaders]
    assert len(rest[0]) == len(loaders[0]) - 1
    assert all(map(same, rest[0], rest[1])) and all(map(same, rest[0], rest[2]))


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6])
def test_ranks_share_the_same_global_batches_and_resume_in_another_number(output: Path, ranks: int) -> None:
    def loaders(count: int) -> list[PairLoader]:
        return [PairLoader(output, 12 // count, image=SMALL, machine=Machine(rank=rank, ranks=count)) for rank in range(count)]

    one = keys(PairLoader(output, 12, image=SMALL))
    many = loaders(ranks)
    assert {len(loader) for loader in many} == {len(one)}
    streams = [iter(loader) for loader in many]
    first = [next(stream)["keys"] for stream in streams]
    assert [key for row in zip(*first, strict=True) for key in row] == one[0]
    state = many[0].state_dict()
    for rank, loader in enumerate(loaders(2)):
        loader.load_state_dict(state)
        assert keys(loader) == [batch[rank::2] for batch in one[1:]]


def test_a_state_of_something_else_is_refused(output: Path, tmp_path: Path) -> None:
    state = PairLoader(output, 8, image=SMALL).state_dict()
    with pytest.raises(UsageError, match="global_batch_size: was 8, is 4"):
        PairLoader(output, 4, image=SMALL).load_state_dict(state)
    with pytest.raises(UsageError, match="augment: was None"):
        PairLoader(output, 8, image=SMALL, augment=Augment()).load_state_dict(state)
    other = prepared(tmp_path, geometry="letterbox: {size: 96}")
    with pytest.raises(UsageError, match="set: was"):
        PairLoader(other, 8).load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_position_resumes_with_any_workers_and_ranks(output: Path, workers: int, ranks: int) -> None:
    """A state of one rank of one process, taken after each batch, goes on as it would have on each rank of others."""
    options: dict[str, Any] = {
        "image": SMALL,
        "augment": Augment(brightness=0.3, flip=0.5),
        "choice": Choice(sentence=1),
        "seed": 5,
    }
    one = PairLoader(output, Batching(6, pool=15, block=4), **options)
    states, whole = [one.state_dict()], []
    for batch in one:
        whole.append(batch)
        states.append(json.loads(json.dumps(one.state_dict())))
    following = list(one)
    machines = [Machine(workers=workers, rank=rank, ranks=ranks, timeout=LIMIT) for rank in range(ranks)]
    for machine in machines:
        other = PairLoader(output, Batching(6 // ranks, pool=15, block=4), machine=machine, **options)
        for position, state in enumerate(states):
            other.load_state_dict(state)
            rest, expected = list(other), whole[position:] or following
            assert keys(rest) == [batch["keys"][machine.rank :: ranks] for batch in expected]
            for ours, theirs in zip(rest, expected, strict=True):
                assert torch.equal(ours["pixel_values"], theirs["pixel_values"][machine.rank :: ranks])
                length = ours["input_ids"].shape[1]  # a rank pads as far as its own longest text
                assert torch.equal(ours["input_ids"], theirs["input_ids"][machine.rank :: ranks, :length])


def test_breaking_off_begins_the_epoch_anew(output: Path) -> None:
    loader = PairLoader(output, 8, image=SMALL)
    for batch in loader:
        first = batch["keys"]
        break
    assert next(iter(loader))["keys"] == first and loader.epoch == 0
    list(loader)
    assert loader.epoch == 1


def _break_image(output: Path, count: int) -> list[str]:
    """Damage the first image of each of `count` pairs in the first shard, sizes unchanged."""
    tar = output / "00000.tar"
    data = bytearray(tar.read_bytes())
    broken, place = [], 0
    while len(broken) < count:
        name, size = data[place : place + 100].rstrip(b"\0").decode(), int(data[place + 124 : place + 135], 8)
        if name.endswith("jpg"):
            data[place + 512 : place + 512 + size] = bytes(size)
            broken.append(name.partition(".")[0])
        place += 512 + size + -size % 512
    tar.write_bytes(data)
    return broken


def test_bad_pairs_are_replaced_from_their_bucket_and_counted(tmp_path: Path) -> None:
    output = prepared(tmp_path)
    (broken,) = _break_image(output, 1)
    loader = PairLoader(output, 8, image=SMALL)
    batches = list(loader)
    assert all(len(batch["keys"]) == 8 for batch in batches)
    assert broken not in [key for batch in batches for key in batch["keys"]]
    assert loader.stats()["replaced"] == 1 and loader.stats()["reasons"] == {"not_an_image": 1}
    assert keys(batches) == keys(PairLoader(output, 8, image=SMALL, machine=Machine(workers=2, timeout=LIMIT)))


@pytest.mark.parametrize("bad", [1, 8])
def test_a_substitute_is_never_in_the_batch_already(tmp_path: Path, bad: int) -> None:
    """In contrastive training it would be its own negative; so would one that stands in for two bad pairs."""
    output = prepared(tmp_path)
    _break_image(output, bad)
    loader = PairLoader(output, 8, image=SMALL, max_bad=1.0)
    shown = [batch["keys"] for _ in range(20) for batch in loader]
    assert loader.stats()["replaced"] == 20 * bad
    assert [keys for keys in shown if len(set(keys)) < len(keys)] == []


def test_substitutes_are_the_same_for_any_number_of_ranks(tmp_path: Path) -> None:
    output = prepared(tmp_path)
    _break_image(output, 8)
    whole = [sorted(shown) for shown in keys(PairLoader(output, 8, image=SMALL, max_bad=1.0))]
    parts = [keys(PairLoader(output, 4, image=SMALL, max_bad=1.0, machine=Machine(rank=rank, ranks=2))) for rank in (0, 1)]
    assert [sorted(one + other) for one, other in zip(*parts, strict=True)] == whole


def test_too_many_bad_pairs_stop_the_loader(tmp_path: Path) -> None:
    output = prepared(tmp_path)
    _break_image(output, 16)
    loader = PairLoader(output, 8, image=SMALL)
    with pytest.raises(RunError, match=r"pairs could not be read \(\{'not_an_image'"):
        list(loader) + list(loader)
    assert PairLoader(output, 8, image=SMALL, max_bad=0.5)


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("00001.tar", "unlink", "00001.tar is missing"),
        ("00001.tar", "cut", "has 3000 bytes, its manifest says"),
        ("manifest/00002.json", "unlink", "shard 2 is not committed"),
        ("manifest/00002.json", "cut", "the manifest of shard 2 can't be used"),
        ("00000.parquet", "unlink", "00000.parquet is missing"),
    ],
)
def test_a_set_that_is_not_whole_is_refused(tmp_path: Path, output: Path, name: str, how: str, said: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    path = copy / name
    path.unlink() if how == "unlink" else path.write_bytes(path.read_bytes()[: 3000 if name.endswith("tar") else 30])
    with pytest.raises(UsageError, match=said):
        PairLoader(copy, 8)


def test_a_ledger_of_other_pairs_is_refused(tmp_path: Path) -> None:
    output = prepared(tmp_path)
    manifest = json.loads((output / "manifest/00000.json").read_text())
    shutil.copy(output / "00001.tar", output / "00000.tar")
    manifest["files"]["00000.tar"]["bytes"] = (output / "00000.tar").stat().st_size
    (output / "manifest/00000.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"00000.tar does not hold the pairs of its ledger"):
        PairLoader(output, 8, image=SMALL)


def test_an_output_without_pairs_is_refused(tmp_path: Path) -> None:
    run(write_raw(tmp_path / "raw", 3), tmp_path / "out", recipe().from_yaml("steps: [decode, {min_side: {side: 5000}}, encode]"))
    with pytest.raises(UsageError, match="not one pair"):
        PairLoader(tmp_path / "out", 2, text="clip")
    with pytest.raises(UsageError, match="names no tokenizer"):  # the wrong one would train without a word
        PairLoader(tmp_path / "out", 2)


def test_more_ranks_and_workers_than_shards_and_pairs_work(tmp_path: Path) -> None:
    output = prepared(tmp_path, 3)
    loaders = [PairLoader(output, 2, machine=Machine(rank=rank, ranks=4)) for rank in range(4)]
    seen = [batch for loader in loaders for batch in keys(loader)]
    assert [len(batch) for batch in seen] == [2, 2, 2, 2] and len({key for batch in seen for key in batch}) == 3


@pytest.mark.parametrize("training", [False, True], ids=["waiting", "training"])
def test_a_killed_worker_is_told_and_the_rest_can_be_had(output: Path, training: bool) -> None:
    loader = PairLoader(output, 4, image=SMALL, machine=Machine(workers=1, prefetch=1, timeout=LIMIT))
    batches = iter(loader)
    seen = [next(batches)["keys"]]
    (worker,) = loader._loader._iterator._workers
    begun = time.monotonic()
    with pytest.raises(RuntimeError if training else RunError, match="worker"):  # while training, torch tells it
        os.kill(worker.pid, signal.SIGKILL)
        deadline = time.monotonic() + LIMIT
        while training and time.monotonic() < deadline:
            time.sleep(0.01)
        for batch in batches:
            seen.append(batch["keys"])
    assert 1 <= len(seen) < len(loader) == 10
    loader.load_state_dict(loader.state_dict())
    assert seen + keys(loader) == keys(PairLoader(output, 4, image=SMALL))
    assert time.monotonic() - begun < LIMIT / 2  # the dead one is not waited for


def test_ranks_as_processes_end_together(output: Path, tmp_path: Path) -> None:
    code = (
        "import sys, torch.distributed as dist\n"
        "from pairloom.torch import *\n"
        "dist.init_process_group('gloo')\n"
        f"loader = PairLoader({str(output)!r}, Batching(token_budget=2200), machine=Machine(workers=1, timeout={LIMIT}))\n"
        "for batch in loader:\n"
        "    dist.barrier()\n"
        "from pathlib import Path\n"
        f"said = Path({str(tmp_path)!r}, f'rank-{{dist.get_rank()}}')\n"
        "said.write_text(f\"{len(loader)} {loader.stats()['batches']}\")\n"
        "dist.destroy_process_group()\n"
    )
    (tmp_path / "train.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--rdzv-backend=c10d",
               "--rdzv-endpoint=localhost:0", str(tmp_path / "train.py")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    counts = [count for rank in (0, 1) for count in (tmp_path / f"rank-{rank}").read_text().split()]
    assert len(counts) == 4 and len(set(counts)) == 1


CHARACTERS = Tokenizer(WordLevel({"?": 0}, "?"))
CHARACTERS.pre_tokenizer = Split("", "isolated")
VIEWS: dict[str, dict[str, Any]] = {
    "letterbox": {"image": Letterbox(64)},
    "mixed canvases": {"image": aspect_buckets(224)},
    "native patches": {"image": NativePatches(16, 100)},
    "rounded text": {"image": SMALL, "collate": Collate(text_multiple=64)},
    "other captions": {"image": SMALL, "choice": Choice(whole=0, run=1)},
    "another tokenizer": {"image": SMALL, "text": TextReader(CHARACTERS, 77)},
    "tiles": {"image": Letterbox(32), "tiles": True},
}


@pytest.mark.parametrize("options", VIEWS.values(), ids=VIEWS.keys())
def test_no_batch_goes_over_the_token_budget(output: Path, options: dict[str, Any]) -> None:
    def largest(batching: Batching) -> int:
        return max(_places(batch) for batch in PairLoader(output, batching, **options))

    with pytest.raises(UsageError, match=r"text need \d+") as fault:
        len(PairLoader(output, Batching(token_budget=8), **options))
    least = int(str(fault.value).partition("text need ")[2].partition(".")[0])
    assert largest(Batching(token_budget=least)) <= least and largest(Batching(token_budget=2 * least)) <= 2 * least


def _places(batch: dict[str, Any]) -> int:
    values = batch["pixel_values"]
    image = values.shape[1] if "spatial_shapes" in batch else values[0].numel() // (3 * 16 * 16)
    return int(len(values) * (image + batch["input_ids"].shape[1]))


def test_texts_that_nobody_counted_keep_to_the_token_budget(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", 40)
    for path in raw.glob("*.txt"):
        path.write_text("山路上有一辆红色的自行车" * (1 + int(path.stem[-2:]) % 3), "utf-8")
    run(raw, tmp_path / "out", recipe())
    loader = PairLoader([str(tmp_path / "out" / "00000.tar")], Batching(token_budget=1600), image=Letterbox(64))
    assert max(_places(batch) for batch in loader) <= 1600


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (lambda: {"batch_size": Batching(8), "seed": -1}, "seed is -1"),
        (lambda: {"batch_size": Batching(8), "max_bad": 2}, "max_bad is 2"),
        (lambda: {"batch_size": Batching(8), "collate": Collate(text_multiple=0)}, "text_multiple is 0"),
        (lambda: {"batch_size": Batching(8), "machine": Machine(workers=-1)}, "workers is -1"),
        (lambda: {"batch_size": Batching(8), "machine": Machine(workers=1, prefetch=0)}, "prefetch is 0"),
    ],
)
def test_options_that_make_no_sense_are_told(output: Path, options: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PairLoader(output, **options())


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), None])
def test_weights_that_make_no_sense_are_told(output: Path, weight: float | None) -> None:
    with pytest.raises(UsageError, match="weight"):
        PairLoader({} if weight is None else {str(output): 1.0, str(output / "00000.tar"): weight}, 8)


def test_what_the_remainder_rule_drops_is_counted(output: Path) -> None:
    loader = PairLoader(output, Batching(12, remainder="drop"), image=SMALL)
    assert [len(list(loader)) for _ in range(2)] == [3, 3] and loader.stats()["dropped"] == 2 * 4


def test_sets_mix_and_foreign_tars_load(output: Path, tmp_path: Path) -> None:
    tars = [str(output / f"{shard:05d}.tar") for shard in range(3)]
    shutil.copytree(output, tmp_path / "copy")
    (tmp_path / "copy" / "plan.json").unlink()
    loader = PairLoader(tmp_path / "copy", 8)
    assert len(loader.index) == 40 and loader.index.skipped == 0
    assert np.array_equal(loader.index.size, PairLoader(output, 8, image=SMALL).index.size)
    mixed = PairLoader({str(output): 0.5, tars[0]: 2.0}, 4)
    assert len(mixed) == (20 + 32) // 4
    assert len(list(mixed)) == 13


def test_uint8_pixels_are_the_drawn_ones(output: Path) -> None:
    floats = next(iter(PairLoader(output, 4, image=SMALL)))["pixel_values"]
    whole = PairLoader(output, 4, image=SMALL, collate=Collate(dtype="uint8"))
    ints = next(iter(whole))["pixel_values"]
    mean, std = (torch.tensor(three)[:, None, None] for three in (whole.images.transform.mean, whole.images.transform.std))
    assert ints.dtype == torch.uint8 and torch.allclose((ints / 255 - mean) / std, floats, atol=1e-5)
