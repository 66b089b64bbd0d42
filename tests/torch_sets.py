"""Prepared sets for the tests of the loader, made by `pairloom.run` from pictures of many shapes and texts of many lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conftest import picture

from pairloom import Recipe, run

SHAPES = ((120, 90), (90, 120), (160, 60), (60, 160), (100, 100), (150, 140), (200, 50))
STEPS = """
steps:
- decode
- clean
- segment
- truncate: {by: sentences, max_tokens: 77, tokenizer: clip}
- {geometry}
- tiles: {size: 64}
- encode
"""


def recipe(geometry: str = "contain: {longest: 128}") -> Recipe:
    """A recipe with that geometry step."""
    return Recipe.from_yaml(STEPS.replace("{geometry}", geometry))


def write_raw(folder: Path, count: int) -> Path:
    """Raw pairs: number i has shape i % 7 and 1 + i % 5 sentences."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"pair-{number:03d}.jpg").write_bytes(picture(*SHAPES[number % len(SHAPES)], number))
        said = " ".join(f"Sentence {place} says that this is picture {number}." for place in range(1 + number % 5))
        (folder / f"pair-{number:03d}.txt").write_text(said, "utf-8")
    return folder


def prepared(folder: Path, count: int = 40, geometry: str = "contain: {longest: 128}", **options: Any) -> Path:
    """An output with `count` pairs in shards of 16."""
    output = folder / "prepared"
    run(write_raw(folder / "raw", count), output, recipe(geometry), **{"shard_size": 16, **options})
    return output
