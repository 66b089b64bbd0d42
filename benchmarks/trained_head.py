"""The trained attention head against training-free attention, on pairs that neither it nor the model was fitted on.

    python benchmarks/trained_head.py --photos 'FOLDER/*.tar' --cache DIR [--model mini] [--seeds 3]
    python benchmarks/trained_head.py --drawings WORK --cache DIR

The construction is that of `long_text.py`: the sentences that describe an image are shuffled among ten of unrelated prose, and
the document has to find its image among ten. Heads learn from such documents of other images, with other prose: one half of the
manual's sentences is for learning, the other for measuring. `--photos` are WebDataset tars whose JSON holds `captions`; the first
seventh of the images is measured on. `--drawings` is the folder in which `training/mini/train.py` prepared its pairs: those of
its test split are taken, one of each group of duplicates, and a third is measured on. What is embedded is kept in the cache.

Beside training-free attention stand the closed-form head, fitted to the same documents, and documents without prose, where every
sentence counts. The differences are to training-free attention, the probabilities McNemar's; of the mean of all seeds that of a
paired bootstrap.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from long_text import PROSE, WAYS, photos, prose, split
from PIL import Image

from pairloom.alignment.head import fit_head
from pairloom.alignment.metrics import bootstrap, matches, paired, ranks
from pairloom.compare.scorers import Pooled, Scorer
from pairloom.models import Model, embed_bank, load
from pairloom.train import Fitting, Pairs, fit_attention_head

ROOT = Path(__file__).resolve().parents[1]
Item = tuple[np.ndarray, list[str]]


@dataclass(frozen=True)
class Source:
    """Embedded images (n, d), of each the embedded sentences that describe it (s, d), and the share to measure on."""

    images: np.ndarray
    own: list[np.ndarray]
    measured: float


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
        texts = model.embed_texts([one for _, said in some for one in said])
        return {"images": model.embed_images([pixels for pixels, _ in some]), "texts": texts,
                "counts": np.array([len(said) for _, said in some])}  # fmt: skip

    found = kept(cache / f"{name}-{model.identity[:16]}.npz", make)
    return Source(found["images"], np.split(found["texts"], np.cumsum(found["counts"])[:-1]), measured)


def documents(own: Sequence[np.ndarray], filler: np.ndarray, seed: int) -> list[np.ndarray]:
    """The sentences of each image shuffled among those of prose."""
    chance, made = np.random.default_rng(seed), []
    for each in own:
        whole = np.concatenate([each, filler[chance.choice(len(filler), PROSE, replace=False)]])
        made.append(whole[chance.permutation(len(whole))])
    return made


def pooled(texts: np.ndarray, bank: np.ndarray, gamma: float) -> np.ndarray:
    """What the closed-form head is fitted to: the sentences weighted by how informative they are."""
    spread = (texts.astype(np.float64) @ bank.T).std(axis=1)
    vector = (spread / spread.max()) ** gamma @ texts
    return vector / np.linalg.norm(vector)


def scores(scorer: Scorer, texts: Sequence[np.ndarray], images: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """How well each text fits each image, float (texts, images)."""
    views, known = scorer.images(images)[:, None], scorer.images(bank)
    mapped = [scorer.texts(text) for text in texts]
    return np.stack([scorer.align_cosines(text, np.einsum("sd,nvd->snv", text, views), known) for text in mapped])


def measure(source: Source, filler: np.ndarray, model: Model, seeds: int, seed: int) -> None:
    """Fit the heads, and print how all find the images that they were not fitted on."""
    bank, count = embed_bank(model), len(source.images)
    half, cut = len(filler) // 2, int(count * source.measured)
    learn = documents(source.own[cut:], filler[:half], seed)
    pairs = Pairs(tuple(source.images[cut:, None]), tuple(learn), np.arange(count - cut), np.arange(count - cut))
    flat = np.stack([pooled(text, bank, model.pooling.gamma) for text in learn])
    ridge, strength = fit_head(flat, source.images[cut:], pairs.groups, seed)
    plain = Pooled(model.pooling, "attention")
    scorers: dict[str, list[Scorer]] = {
        "attention, training-free": [plain],
        f"closed form ({strength:g}), attention": [Pooled(model.pooling, "attention", ridge)],
        "trained head": [],
    }
    for number in range(seeds):
        start = time.perf_counter()
        head, epochs = fit_attention_head(pairs, bank, model.pooling, Fitting(validation=1 / 6, seed=seed + number))
        best = max(epoch.number for epoch in epochs if epoch.best)
        print(
            f"seed {seed + number}: epoch {best} of {len(epochs) - 1}, {time.perf_counter() - start:.0f} s, {head.pooling}",
            flush=True,
        )
        scorers["trained head"].append(head)
    images, chance = source.images[:cut], np.random.default_rng(seed)
    rivals = np.stack([chance.choice(np.delete(np.arange(cut), row), WAYS - 1, replace=False) for row in range(cut)])
    for setting, texts in (("among prose", documents(source.own[:cut], filler[half:], seed + 1)), ("alone", source.own[:cut])):
        print(f"\ndescriptions {setting}: {cut} images, {WAYS}-way, learnt from {count - cut}, {model.name}")
        print(
            f"{'policy':34} {'accuracy':>8} {'95 %':>15} {'difference':>10} {'95 %':>15} {'p':>8} {'errors cut':>10} {'R@1':>6}"
        )
        base: np.ndarray | None = None
        for name, each in scorers.items():
            found = [scores(scorer, texts, images, bank) for scorer in each]
            hits = [matches(one, np.arange(cut), rivals) for one in found]
            first = [(ranks(one, np.eye(cut, dtype=bool)) == 1).mean() for one in found]
            base = hits[0] if base is None else base
            rows = [(f"  seed {seed + number}", *row) for number, row in enumerate(zip(hits, first, strict=True))] * (
                len(each) > 1
            )
            for title, right, recall in [*rows, (name, np.mean(hits, axis=0), np.mean(first))]:
                print(f"{title:34} {row_of(base, right)} {recall:6.1%}", flush=True)


def row_of(base: np.ndarray, right: np.ndarray) -> str:
    """Accuracy with its interval, and the difference to the base."""
    own, change = bootstrap(right), paired(base, right)
    value = f"{own.value:8.1%} [{own.low:6.1%},{own.high:6.1%}]"
    less = f"{change.difference:+10.1%} [{change.low:+6.1%},{change.high:+6.1%}]"
    return f"{value} {less} {change.p_value:8.2g} {change.error_reduction:10.1%}"


def main() -> None:
    """Print the tables of one source."""
    parser = argparse.ArgumentParser(description="The trained attention head against training-free attention.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--photos", help="glob of WebDataset tars with `captions` in their JSON")
    source.add_argument("--drawings", type=Path, help="the folder that training/mini/train.py prepared")
    parser.add_argument("--cache", type=Path, default=Path("bench-cache"), help="where packages and embeddings are kept")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = load(options.model)
    if options.photos:
        found = embedded(model, "photos", lambda: photo_items(options.photos), 1 / 7, options.cache)
    else:
        found = embedded(model, "drawings", lambda: drawing_items(options.drawings), 1 / 3, options.cache)
    text = kept(options.cache / f"prose-{model.identity[:16]}.npz", lambda: {"prose": model.embed_texts(prose(options.cache))})
    measure(found, text["prose"], model, options.seeds, options.seed)


if __name__ == "__main__":
    main()
