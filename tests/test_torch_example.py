"""The example that trains: alone and as two ranks it learns, and after a kill it goes on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from pairloom import Recipe, run

SCRIPT = Path(__file__).parents[1] / "examples" / "train_clip.py"
LIMIT = 120
SMALL = ["--size", "32", "--batch-size", "24"]
ONE = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads that wait for each other on a busy machine take minutes


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample pairs, prepared without a model so that it is quick."""
    folder = tmp_path_factory.mktemp("sample")
    recipe = Recipe.from_yaml("steps: [decode, clean, segment, truncate, {contain: {longest: 96}}, encode]")
    run(SCRIPT.parent / "pairs", folder / "prepared", recipe)
    return folder / "prepared"


def train(*command: str | Path) -> str:
    done = subprocess.run([sys.executable, *map(str, command), *SMALL], capture_output=True, text=True, timeout=LIMIT, env=ONE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def place(model: Path) -> tuple[int, int]:
    with safe_open(model / "model.safetensors", "pt") as file:
        state = json.loads(file.metadata()["loader"])
    return state["epoch"], state["step"]


def test_it_learns_and_goes_on_after_a_kill(pairs: Path, tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, pairs, tmp_path / "model", "--epochs", "1000", "--save-every", "2", *SMALL]
    process = subprocess.Popen(list(map(str, command)), env=ONE)
    deadline = time.monotonic() + LIMIT
    while not (tmp_path / "model" / "model.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait(LIMIT)
    epoch, step = place(tmp_path / "model")
    assert (epoch, step) > (0, 0)
    said = train(SCRIPT, pairs, tmp_path / "model", "--epochs", "16")
    (*_, last) = re.findall(r"R@1 ([\d.]+) of (\d+) pairs", said)
    assert float(last[0]) > 10 / int(last[1])  # chance is one of them
    assert place(tmp_path / "model") == (16, 0)


def test_two_ranks_learn_together(pairs: Path, tmp_path: Path) -> None:
    launch = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0")
    said = train(*launch, SCRIPT, pairs, tmp_path / "model", "--epochs", "2")
    assert re.findall(r"epoch (\d+): ", said) == ["2"] and place(tmp_path / "model") == (2, 0)
