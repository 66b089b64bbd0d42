"""The trained attention head beside cutting and training-free attention, on pairs that neither it nor the model was fitted on.

    python benchmarks/trained_head.py --photos 'FOLDER/*.tar' --cache DIR [--model mini] [--seeds 3]
    python benchmarks/trained_head.py --drawings WORK --cache DIR

The construction is that of `long_text.py`: the sentences that describe an image are shuffled among ten of unrelated prose, and
the document has to find its image among ten, and among all. Heads learn from such documents of other images, with other prose:
one half of the manual's sentences is for learning, the other for measuring. `--photos` are WebDataset tars whose JSON holds
`captions`; the first seventh of the images is measured on. `--drawings` is the folder in which `training/mini/train.py` prepared
its pairs: those of its test split are taken, one of each group of duplicates, and a third is measured on. `--validate` measures
on the second seventh, or third, instead and never touches the first: for choosing. What is embedded is kept in the cache.

Each policy is measured as the model is, and refitted: by the closed-form head and by the trained one, on texts read as the policy
reads them. The first 512 characters are also read by a head trained on the single descriptions, each a text of its own. Documents
without prose, where every sentence counts, and single sentences are measured as well; a head that learnt from descriptions
without prose is the ceiling. Differences are to training-free attention; `errors cut` is against the first 512 characters in
the same regime, or by the head that the row names. Intervals are of a bootstrap over images, of several seeds the mean is taken.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from long_text import PROSE, WAYS, photos, prose, split
from PIL import Image

from pairloom.alignment.bank import Bank, BankVectors
from pairloom.alignment.head import fit_head
from pairloom.alignment.metrics import bootstrap, matches, paired, ranks
from pairloom.compare.scorers import Pooled, Scorer
from pairloom.models import Model, embed_bank, load
from pairloom.train import Fitting, Pairs, fit_attention_head

ROOT = Path(__file__).resolve().parents[1]
CUT, ROUNDS = 512, 2000
MANY = 1024  # texts in a batch, where each description is one
Item = tuple[np.ndarray, list[str]]
Texts = list[np.ndarray]


@dataclass(frozen=True)
class Source:
    """Embedded images (n, d), of each the sentences that describe it, embedded (s, d) and as they are, and the share to measure
    on."""

    images: np.ndarray
    own: Texts
    said: list[list[str]]
    measured: float

    def part(self, rows: np.ndarray) -> Source:
        """Some of the images."""
        return Source(self.images[rows], [self.own[row] for row in rows], [self.said[row] for row in rows], self.measured)


@dataclass(frozen=True)
class Row:
    """A policy of a table: its texts, what scores them, one for each seed, and the row whose errors it is to cut."""

    name: str
    texts: Texts
    scorers: Sequence[Scorer]
    naive: str = ""


def photo_items(pattern: str) -> list[Item]:
    """Photographs, each with its captions as sentences."""
    return [(pixels, [one.strip().rstrip(" .") + "." for one in said]) for pixels, said in photos(pattern, 7000)]


def drawing_items(work: Path) -> list[Item]:
    """Drawings of the test split of `mini`, with the sentences of what stands beside them."""
    sys.path.insert(0, str(ROOT / "training" / "mini"))
    from pairs import drawings, load_pairs

    found = drawings(load_pairs(work), "test", 10_000)
    return [(np.array(Image.open(work / "images" / one.file).convert("RGB")), split(one.text)) for one in found]


def kept(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays from the cache, or made and put there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **make())
    with np.load(path) as found:
        return dict(found)


def embedded(model: Model, name: str, items: Callable[[], list[Item]], measured: float, cache: Path) -> Source:
    """The embeddings of a source."""

    def make() -> dict[str, np.ndarray]:
        some = items()
        said = [one for _, each in some for one in each]
        return {"images": model.embed_images([pixels for pixels, _ in some]), "texts": model.embed_texts(said),
                "said": np.array(said), "counts": np.array([len(each) for _, each in some])}  # fmt: skip

    found = kept(cache / f"{name}-{model.identity[:16]}.npz", make)
    ends = np.cumsum(found["counts"])[:-1]
    said = [part.tolist() for part in np.split(found["said"], ends)]
    return Source(found["images"], np.split(found["texts"], ends), said, measured)


def documents(own: Sequence[Sequence[Any]], filler: Sequence[Any], seed: int) -> list[list[Any]]:
    """The sentences of each image shuffled among those of prose; strings and embeddings are shuffled alike."""
    chance, made = np.random.default_rng(seed), []
    for each in own:
        whole = [*each, *(filler[row] for row in chance.choice(len(filler), PROSE, replace=False))]
        made.append([whole[row] for row in chance.permutation(len(whole))])
    return made


def pooled(texts: np.ndarray, bank: Bank, gamma: float) -> np.ndarray:
    """What the closed-form head is fitted to: the sentences weighted by how informative they are."""
    _, spread = bank.statistics(texts)
    vector = (spread / max(spread.max(), 1e-12)) ** gamma @ texts
    return vector / np.linalg.norm(vector)


def scores(scorer: Scorer, texts: Sequence[np.ndarray], images: np.ndarray, bank: BankVectors) -> np.ndarray:
    """How well each text fits each image, float (texts, images)."""
    views, known = scorer.images(images), scorer.bank(bank)
    mapped = [scorer.texts(text) for text in texts]
    each = zip(texts, mapped, strict=True)
    return np.stack([scorer.align_cosines(plain, text, (text @ views.T)[:, :, None], known) for plain, text in each])


def measure(source: Source, filler: tuple[np.ndarray, list[str]], model: Model, options: argparse.Namespace) -> None:
    """Fit the heads, and print how all find the images that they were not fitted on."""
    bank, seed, half = embed_bank(model), options.seed, len(filler[0]) // 2
    size = int(len(source.images) * source.measured)
    order = np.arange(len(source.images))
    seen, rest = (order[size : 2 * size], order[2 * size :]) if options.validate else (order[:size], order[size:])
    learn, held = source.part(rest), source.part(seen)
    sides = ((learn, slice(None, half), seed), (held, slice(half, None), seed + 1))
    mixed = [[np.stack(one) for one in documents(part.own, filler[0][some], draw)] for part, some, draw in sides]
    cut = [[" ".join(one)[:CUT] for one in documents(part.said, filler[1][some], draw)] for part, some, draw in sides]
    name = f"cut-{len(rest)}-{len(seen)}-{seed}-{model.identity[:16]}.npz"
    vectors = kept(options.cache / name, lambda: {"texts": model.embed_texts([one for part in cut for one in part])})["texts"]
    texts = {
        "cut": (list(vectors[: len(rest), None]), list(vectors[len(rest) :, None])),
        "mixed": (mixed[0], mixed[1]),
        "alone": (learn.own, held.own),
    }
    heads = {kind: fitted(pairs_of(learn, part), bank, model, options, kind) for kind, (part, _) in texts.items()}
    heads["one by one"] = fitted(each_alone(learn), bank, model, options, "one by one", MANY)
    known = Bank.of(bank)
    flat = np.stack([pooled(text, known, model.pooling.gamma) for text in texts["mixed"][0]])
    ridge, _ = fit_head(flat, learn.images, np.arange(len(rest)), seed)
    plain, closed = Pooled(model.pooling, "attention"), Pooled(model.pooling, "attention", ridge)
    single = [one[None] for part in held.own for one in part]
    where = np.repeat(np.arange(len(seen)), [len(part) for part in held.own])
    print(f"\n{len(seen)} images, {WAYS}-way, learnt from {len(rest)}, {options.seeds} seeds, {model.name}")
    naive, naive_head = "first 512 characters", "first 512 characters, trained head"
    naive_once = "first 512, trained one by one"
    table("descriptions among prose", held.images, bank, np.arange(len(seen)), (
        Row(naive, texts["cut"][1], [Pooled(model.pooling, "whole")]),
        Row(naive_head, texts["cut"][1], heads["cut"]),
        Row(naive_once, texts["cut"][1], heads["one by one"]),
        Row("attention", mixed[1], [plain], naive),
        Row("attention, closed form", mixed[1], [closed]),
        Row("trained head", mixed[1], heads["mixed"], naive_head),
        Row("the same, beside one for captions", mixed[1], heads["mixed"], naive_once),
        Row("trained without prose", mixed[1], heads["alone"], naive_head),
        Row("that, beside one for captions", mixed[1], heads["alone"], naive_once)))  # fmt: skip
    for setting, each, place in (("descriptions alone", held.own, np.arange(len(seen))), ("one description", single, where)):
        table(setting, held.images, bank, place, (
            Row("mean of sentences", each, [Pooled(model.pooling, "mean")]), Row("attention", each, [plain]),
            Row("attention, closed form", each, [closed]), Row("trained head", each, heads["mixed"]),
            Row("trained without prose", each, heads["alone"]),
            Row("trained one by one", each, heads["one by one"])))  # fmt: skip


def pairs_of(source: Source, texts: Texts) -> Pairs:
    """The images of a source, each with one text."""
    rows = np.arange(len(texts))
    return Pairs(tuple(source.images[:, None]), tuple(texts), rows, rows)


def each_alone(source: Source) -> Pairs:
    """The images of a source with each of their sentences as a text of its own."""
    rows = np.repeat(np.arange(len(source.own)), [len(part) for part in source.own])
    return Pairs(tuple(source.images[:, None]), tuple(one[None] for part in source.own for one in part), rows, rows)


def fitted(
    pairs: Pairs, bank: BankVectors, model: Model, options: argparse.Namespace, kind: str, batch: int = Fitting.batch
) -> list[Scorer]:
    """A head for each seed."""
    found: list[Scorer] = []
    for seed in range(options.seed, options.seed + options.seeds):
        start = time.perf_counter()
        fitting = Fitting(validation=1 / 6, seed=seed, batch=batch, epochs=options.epochs, patience=options.patience)
        head, epochs = fit_attention_head(pairs, bank, model.pooling, fitting)
        best = max(epoch.number for epoch in epochs if epoch.best)
        took = f"epoch {best} of {len(epochs) - 1}, {time.perf_counter() - start:.0f} s"
        print(f"learnt from {kind}, seed {seed}: {took}, {head.pooling}", flush=True)
        found.append(head)
    return found


def table(setting: str, images: np.ndarray, bank: BankVectors, own: np.ndarray, rows: Sequence[Row]) -> None:
    """Print one setting; text i is of image `own[i]`."""
    chance, count = np.random.default_rng(0), len(images)
    each = [chance.choice(np.delete(np.arange(count), row), WAYS - 1, replace=False) for row in range(count)]
    rivals, right = np.array(each)[own], own[:, None] == np.arange(count)
    print(f"\n{setting}: {len(own)} texts")
    print(f"{'policy':36} {'10-way':>6} {'95 %':>15} {'difference':>10} {'95 %':>15} {'p':>8} {'errors cut':>10} {'95 %':>15}"
          f" {'R@1':>6} {'95 %':>15}")  # fmt: skip
    known: dict[str, np.ndarray] = {}
    lines = []
    for row in rows:
        found = [scores(scorer, row.texts, images, bank) for scorer in row.scorers]
        known[row.name] = np.mean([matches(one, own, rivals) for one in found], axis=0)
        lines.append((row, np.mean([ranks(one, right) == 1 for one in found], axis=0)))
    for row, first in lines:
        hits, recall = known[row.name], bootstrap(first, own)
        accuracy, change = bootstrap(hits, own), paired(known["attention"], hits, own)
        value = f"{accuracy.value:6.1%} [{accuracy.low:6.1%},{accuracy.high:6.1%}]"
        more = f"{change.difference:+10.1%} [{change.low:+6.1%},{change.high:+6.1%}] {change.p_value:8.2g}"
        less = errors_cut(known[row.naive], hits) if row.naive else f"{'':28}"
        print(f"{row.name:36} {value} {more} {less} {recall.value:6.1%} [{recall.low:6.1%},{recall.high:6.1%}]", flush=True)


def errors_cut(base: np.ndarray, other: np.ndarray) -> str:
    """The share of the errors of `base` that the other policy doesn't make, images resampled in pairs."""
    chance = np.random.default_rng(0)
    draws = [chance.integers(0, len(base), len(base)) for _ in range(ROUNDS)]
    low, high = np.percentile([1 - (1 - other[rows]).sum() / (1 - base[rows]).sum() for rows in draws], [2.5, 97.5])
    return f"{1 - (1 - other).sum() / (1 - base).sum():10.1%}  [{low:6.1%},{high:6.1%}]"


def main() -> None:
    """Print the tables of one source."""
    parser = argparse.ArgumentParser(description="The trained attention head against cutting and training-free attention.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--photos", help="glob of WebDataset tars with `captions` in their JSON")
    source.add_argument("--drawings", type=Path, help="the folder that training/mini/train.py prepared")
    parser.add_argument("--cache", type=Path, default=Path("bench-cache"), help="where packages and embeddings are kept")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    for name in ("epochs", "patience"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Fitting, name), help="as of `pairloom train`")
    parser.add_argument(
        "--validate", action="store_true", help="measure on images that are for choosing, not on those for the end"
    )
    options = parser.parse_args()
    model = load(options.model)
    if options.photos:
        found = embedded(model, "photos", lambda: photo_items(options.photos), 1 / 7, options.cache)
    else:
        found = embedded(model, "drawings", lambda: drawing_items(options.drawings), 1 / 3, options.cache)
    said = prose(options.cache)
    text = kept(options.cache / f"prose-{model.identity[:16]}.npz", lambda: {"prose": model.embed_texts(said)})
    measure(found, (text["prose"], said), model, options)


if __name__ == "__main__":
    main()
