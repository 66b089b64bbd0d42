"""The Tab key: what the shells' own completion functions offer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from pairloom.choices import Format, Layout, shipped_recipes
from pairloom.recipe import REGISTRIES
from pairloom.registry import own
from pairloom.writers.shard import FORMATS

LINES = [
    ("sc", ["schema", "score"]),
    ("run --ou", []),
    ("run --shard", ["--shard-size"]),
    ("run in out --recipe ", shipped_recipes()),
    ("run in out -r def", ["default"]),
    ("run in out --engine ", ["local", "ray"]),
    ("run in out --format ", sorted(get_args(Format))),
    ("run in out --fetch p", ["public"]),
    ("compare in -p na", ["naive"]),
    ("init x.yaml --recipe let", ["letterbox"]),
    ("steps let", ["letterbox"]),
    ("steps keep", ["keep_top"]),
    ("score in --model o", ["onnx:", "openclip:"]),
    ("models m", ["mini"]),
    ("preview in --device c", ["cpu", "cuda"]),
    ("export out dest --to ", sorted(get_args(Layout))),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `pairloom` as an installer makes it: the name of the command decides what the shells ask."""
    place = tmp_path_factory.mktemp("bin")
    start = f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n"  # pip's way, since a path may hold a space
    (place / "pairloom").write_text(f"{start}from pairloom.cli import main\nmain()\n")
    (place / "pairloom").chmod(0o755)
    return place


def said(folder: Path, *words: str, **asked: str) -> str:
    env = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **asked}
    done = subprocess.run(words, env=env, capture_output=True, text=True, cwd=folder)
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize(("line", "offered"), LINES, ids=[line for line, _ in LINES])
def test_bash_completes(line: str, offered: list[str], folder: Path) -> None:
    words = f"pairloom {line}".split(" ")
    asked = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1), "_PAIRLOOM_COMPLETE": "complete_bash"}
    assert said(folder, "pairloom", **asked).split() == offered


@pytest.mark.parametrize("line", ["run in out --recipe ", "sc", "export out dest --to m"])
def test_zsh_and_fish_complete(line: str, folder: Path) -> None:
    offered = dict(LINES).get(line, ["mds"])
    asked = {"_TYPER_COMPLETE_ARGS": f"pairloom {line}"}
    zsh = said(folder, "pairloom", **asked, _PAIRLOOM_COMPLETE="complete_zsh")
    assert re.findall(r'^(?:_arguments \'\*: :\(\()?"([\w-]+)"', zsh, re.MULTILINE) == offered
    fish = said(folder, "pairloom", **asked, _PAIRLOOM_COMPLETE="complete_fish", _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert [each.partition("\t")[0] for each in fish.splitlines()] == offered


def test_the_function_for_bash_works_in_bash(folder: Path) -> None:
    """What is installed, run by bash itself as Tab would."""
    script = (
        'eval "$(_PAIRLOOM_COMPLETE=source_bash pairloom)"\n'
        "COMP_WORDS=(pairloom run in out --recipe let); COMP_CWORD=5\n"
        '$(complete -p pairloom | sed "s/.*-F \\([^ ]*\\) .*/\\1/") pairloom; echo "${COMPREPLY[@]}"\n'
    )
    assert said(folder, "bash", "--norc", "-c", script).split() == ["letterbox"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_the_function_for_zsh_is_zsh(folder: Path) -> None:
    script = 'compdef() { print registered $@ }; eval "$(_PAIRLOOM_COMPLETE=source_zsh pairloom)"'
    assert said(folder, "zsh", "-f", "-c", script).split()[-1] == "pairloom"


def test_words_are_those_that_are_checked() -> None:
    assert get_args(Format) == FORMATS
    assert {"clean", "duplicates"} < own() and own() <= {name for part in REGISTRIES.values() for name in part}
