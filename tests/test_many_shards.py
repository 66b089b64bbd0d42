"""What the process that starts a run holds of each shard: there may be a hundred thousand."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import write_pairs

from pairloom import run
from pairloom.finished import Finished
from pairloom.output import compile_manifest
from pairloom.progress import Progress
from pairloom.sums import sums_agree, write_sums
from pairloom.writers.parts import write_json
from pairloom.writers.shard import all_committed

FEW, MANY = 100, 1100


def copied(output: Path, shards: int) -> Path:
    """The one shard of an output as if there were so many of them."""
    plan, manifest = (json.loads((output / name).read_text()) for name in ("plan.json", "manifest/00000.json"))
    for index in range(shards):
        for name in manifest["files"]:
            copy = output / name.replace("00000", f"{index:05d}")
            if not copy.exists():
                copy.hardlink_to(output / name)
        files = {name.replace("00000", f"{index:05d}"): about for name, about in manifest["files"].items()}
        write_json(
            output / f"manifest/{index:05d}.json", {**manifest, "files": files, "stats": {**manifest["stats"], "shard": index}}
        )
    [shard] = plan["shards"]
    write_json(
        output / "plan.json", {**plan, "shards": [{**shard, "index": index, "first_row": index} for index in range(shards)]}
    )
    return output


def counted(output: Path, shards: int) -> Any:
    progress = Progress(shards, 1.0)
    progress.finish(all_committed(output, None, shards))
    assert progress.total().pairs_in == shards
    return progress


def agrees(output: Path, shards: int) -> None:
    write_sums(output, range(shards))
    assert sums_agree(output, range(shards))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    made = {}
    for shards in (FEW, MANY):
        folder = tmp_path_factory.mktemp("many")
        run(write_pairs(folder / "pairs", 1), folder / "out", "naive")
        made[shards] = copied(folder / "out", shards)
    return made


@pytest.mark.parametrize(
    ("work", "held", "peak"),
    [
        (counted, 100, 100),
        (lambda output, shards: Finished.read(output), 400, 1300),
        (lambda output, shards: compile_manifest(output, range(shards), "webdataset"), 10, 400),
        (agrees, 10, 1200),
    ],
    ids=["progress", "finished", "manifest", "sums"],
)
def test_a_shard_takes_few_bytes(outputs: dict[int, Path], work: Callable[[Path, int], Any], held: int, peak: int) -> None:
    def traced(shards: int, output: Path) -> tuple[int, int]:
        tracemalloc.start()
        made = work(output, shards)
        taken = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del made
        return taken

    found = {}
    for shards, output in outputs.items():
        found[shards] = min(traced(shards, output) for _ in range(3))  # what is made once doesn't count
    more = [(many - few) / (MANY - FEW) for few, many in zip(found[FEW], found[MANY], strict=True)]
    assert more[0] <= held and more[1] <= peak, more
