"""What each preprocessing policy is worth: the published study, `docs/study/`, by one command.

    python benchmarks/study.py --work DIR --photos 'FOLDER/*.tar' [--pairs 400] [--model mini]

Builds sets of real pairs below `--work` (`study_sets.py`), compares policies on each with `pairloom.compare`
(`study_policies.py`), and writes `docs/study/`: the page (`study_page.py`), two plots and `study.json`. Clip art and stamps are
of the split that `mini` was neither trained nor tuned on (see `training/mini/pairs.py`). `--photos` are WebDataset tars whose
JSON holds `captions`, such as Flickr8k's; they are measured only. Sets from which heads learn have three times `--pairs`, as far
as there are so many. With real CLIP weights at hand, `--model hf:openai/clip-vit-base-patch32` reruns all of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import study_page
from datasets import write_webdataset
from sources import Pair
from study_bank import bank_rows
from study_policies import FULL, Row, augmentations, filters, full, perturbed, policies, read_by, repeats, trained
from study_sets import Set, among, clip_art, photographs, prose, sets, write_bank

from pairloom import compare, evaluate
from pairloom.models import embed_bank, load
from pairloom.models.model import Towers
from pairloom.models.reader import Ids
from pairloom.models.transform import Array

HERE = Path(__file__).resolve().parent
MORE = 3
"""Times as many pairs where heads learn, and only a few policies are compared."""


class Remembered:
    """Towers that embed nothing twice: many sets have the same images, many texts the same sentences."""

    def __init__(self, towers: Towers) -> None:
        self.towers = towers
        self._known: dict[bytes, Array] = {}

    def images(self, inputs: Sequence[Array]) -> Array:
        return self._made([_mark(one) for one in inputs], lambda rows: self.towers.images([inputs[row] for row in rows]))

    def texts(self, ids: Ids, mask: Ids) -> Array:
        marks = [_mark(row[kept > 0]) for row, kept in zip(ids, mask, strict=True)]
        return self._made(marks, lambda rows: self.towers.texts(ids[rows], mask[rows]))

    def _made(self, marks: list[bytes], embed: Callable[[list[int]], Array]) -> Array:
        new = [row for row, mark in enumerate(marks) if mark not in self._known]
        if new:
            self._known.update(zip([marks[row] for row in new], embed(new), strict=True))
        return np.stack([self._known[mark] for mark in marks])


def _mark(array: npt.NDArray[Any]) -> bytes:
    """A digest of an input, told from those of other shapes."""
    return blake2b(np.ascontiguousarray(array).data, digest_size=16, key=repr(array.shape).encode()).digest()


def written(name: str, pairs: list[Pair], work: Path) -> Path:
    """The pairs of a set as WebDataset, in a folder of their number, so that another number is another set."""
    folder = work / "study" / f"{name}-{len(pairs)}"
    if not (folder / "pairs").exists():
        (folder / "pairs").mkdir(parents=True)
        write_webdataset(pairs, folder / "pairs")
    return folder


def compared(folder: Path, rows: Mapping[str, Row], options: argparse.Namespace, **how: Any) -> dict[str, Any]:
    """A comparison as plain values."""
    start = time.perf_counter()
    recipes = {name: row.recipe for name, row in rows.items()}
    said = compare(folder / "pairs", recipes, folder, model=options.model, workers=2, **how).to_json()
    said["parts"] = {name: row.part for name, row in rows.items()}
    said["against_first"] = {name: one["metrics"]["match10"] for name, one in said["against_first"].items()}
    print(f"{folder.name}, {said['regime']}: {said['gallery']['images']} pairs, {time.perf_counter() - start:.0f} s", flush=True)
    return said


def measure(one: Set, options: argparse.Namespace) -> dict[str, Any]:
    """Both regimes on one set; differences are against the first policy and, from the queries, against the full one."""
    folder = written(one.name, one.pairs, options.work)
    rows = policies(options.model, write_bank(one.bank, folder / "bank"), one.geometry)
    found: dict[str, Any] = {"about": one.about, "regimes": {}}
    for regime in ("fixed", "refit"):
        said = compared(folder, rows, options, regime=regime, controls=regime == "fixed" and one.controls)
        found["regimes"][regime] = said | {"against_full": against_full(folder / "queries.parquet")}
    return found | {"bank": bank_rows(folder / "pairs", full(options.model).recipe, options.model)}


def against_full(queries: Path) -> dict[str, dict[str, float]]:
    """Each policy less the full one in 10-way matching, with the probability corrected by Holm."""
    table = pq.read_table(queries)
    hits: dict[str, list[float]] = {name: [] for name in dict.fromkeys(table["policy"].to_pylist())}
    groups: dict[str, list[int]] = {name: [] for name in hits}
    for name, hit, group in zip(*(table[column].to_pylist() for column in ("policy", "match10", "group")), strict=True):
        hits[name].append(float(hit))
        groups[name].append(group)
    found = {name: evaluate.paired(hits[FULL], each, groups[name]) for name, each in hits.items() if name != FULL}
    fair = evaluate.holm([one.p_value for one in found.values()])
    return {name: asdict(one) | {"p_value": p} for (name, one), p in zip(found.items(), fair, strict=True)}


def learnt(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """What heads learn from which pairs, each with a title: photographs where there are any, since `mini` knows none yet."""
    model, work, count = options.model, options.work, MORE * options.pairs
    art, filler = clip_art(work, count), prose("en", work / "cache")
    pairs = {"clip-art": art, "clip-art-long": among(art, filler, " ")}
    if options.photos:
        pairs |= {one.name: one.pairs for one in photographs(options.photos, count, filler)}
    source = "photos" if options.photos else "clip-art"
    often = [pair for place, pair in enumerate(pairs[source][: options.pairs]) for _ in range(1 if place % 20 else 10)]
    short, long = (written(f"learn-{name}", pairs[name], work) for name in (source, f"{source}-long"))
    test, changed = full(model).recipe, perturbed(model).recipe
    for title, folder, rows, by in (
        ("Filters", short, filters(model), test),
        (
            "Duplicates: every twentieth pair comes ten times",
            written(f"learn-{source}-repeats", often, work),
            repeats(model),
            test,
        ),
        ("Augmentation: images as they are", short, augmentations(model), test),
        ("Augmentation: perturbed images", short, augmentations(model), changed),
        ("Text to learn from, among prose", long, read_by(model), test),
    ):
        yield title, compared(folder, rows, options, regime="refit", head="trained", test=by)
    for name in [name for name in ("photos-long", "clip-art-long") if name in pairs]:
        folder = written(f"learn-{name}", pairs[name], work)
        for head in ("closed", "trained"):
            yield f"Head: {name}, {head}", compared(folder, trained(model), options, regime="refit", head=head)


def padding(model: str, texts: list[str]) -> dict[str, float]:
    """What padding does: the same texts each read alone, and all padded to what the model reads at most."""
    encoder = load(model)
    towers = encoder.towers.towers if isinstance(encoder.towers, Remembered) else encoder.towers  # which would read nothing twice
    rows, most = encoder.reader.read(texts), encoder.reader.read(["word " * encoder.context_length])
    batches = {"alone": [[row] for row in rows], "padded": [[*rows, *most]]}
    scores, seconds = {}, {}
    for name, parts in batches.items():
        start = time.process_time()
        vectors = np.concatenate([towers.texts(*encoder.reader.pad(part)) for part in parts])[: len(texts)]
        seconds[name] = time.process_time() - start
        scores[name] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) @ embed_bank(encoder).images.T
    tokens = float(np.mean([encoder.count_tokens(text) for text in texts]))
    largest = float(abs(scores["alone"] - scores["padded"]).max())
    return {"texts": len(texts), "tokens": tokens, "most": encoder.context_length, "largest": largest, **seconds}


def main() -> None:
    """Build, compare, write."""
    parser = argparse.ArgumentParser(description="The published study of preprocessing policies.")
    parser.add_argument("--work", type=Path, required=True, help="where packages, sets and embeddings are kept")
    parser.add_argument("--photos", default="", help="glob of WebDataset tars with `captions` in their JSON")
    parser.add_argument("--pairs", type=int, default=400, help="most pairs of a set")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "study")
    options = parser.parse_args()
    model = load(options.model)  # once a process, so all that follows has these towers
    object.__setattr__(model, "towers", Remembered(model.towers))
    found: dict[str, Any] = {
        "sets": {one.name: measure(one, options) for one in sets(options.work, options.photos, options.pairs)}
    }
    found["learnt"] = dict(learnt(options))
    found["padding"] = padding(options.model, [pair.text for pair in clip_art(options.work, 64)])
    study_page.write(found, options.out, options.pairs, options.model)


if __name__ == "__main__":
    main()
