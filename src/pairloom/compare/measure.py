"""From the features of a policy to its hits, and from hits to estimates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairloom.alignment.bank import BankVectors
from pairloom.alignment.metrics import Estimate, auc, bootstrap, matches, ranks, recall_at
from pairloom.compare.features import Features
from pairloom.compare.result import METRICS, Measured
from pairloom.compare.scorers import Scorer
from pairloom.compare.setting import Setting

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hits:
    """Of each pair, in the order of the setting: `metrics` as hits (n,), the rank of its image for its text and of its text for
    its image; and the area under the curve of all pairs."""

    metrics: dict[str, Floats]
    text_to_image: Ints
    image_to_text: Ints
    auc: float


def score_matrix(features: Features, rows: Ints, bank: BankVectors, scorer: Scorer) -> Floats:
    """How well the text of each of the rows fits the image of each, float (n, n)."""
    views, known = [scorer.images(features.images[row]) for row in rows], scorer.bank(bank)
    lengths = np.array([len(each) for each in views])
    alike = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
    stacks = [(places, np.stack([views[place] for place in places])) for places in alike]
    scores = np.empty((len(rows), len(rows)))
    for numbers, texts in _blocks([scorer.texts(features.texts[row]) for row in rows]):
        cuts = np.cumsum([len(text) for text in texts])[:-1]
        for places, stack in stacks:
            # Equal images must tie, but products of equal vectors may differ in the last bit by where they stand.
            cosines = np.round(np.concatenate(texts) @ stack.reshape(-1, stack.shape[-1]).T, 12)
            for number, text, each in zip(numbers, texts, np.split(cosines, cuts), strict=True):
                among = each.reshape(len(text), *stack.shape[:2])
                scores[number, places] = scorer.align_cosines(features.texts[rows[number]], text, among, known)
    return scores


def _blocks(texts: Sequence[Floats]) -> Iterator[tuple[list[int], list[Floats]]]:
    """Texts, with their numbers, in blocks of about 256 segments: one large product is many times as fast as many small ones."""
    numbers: list[int] = []
    for number in range(len(texts)):
        numbers.append(number)
        if number == len(texts) - 1 or sum(len(texts[each]) for each in numbers) >= 256:
            yield numbers, [texts[each] for each in numbers]
            numbers = []


def hits(scores: Floats, setting: Setting, rivals: tuple[Ints, Ints]) -> Hits:
    """What the scores of a setting's pairs find."""
    right = setting.groups[:, None] == setting.groups[None, :]
    t2i, i2t, own = ranks(scores, right), ranks(scores.T, right), np.arange(len(scores))
    found = {"match10": matches(scores, own, rivals[0]), "match10_hard": matches(scores, own, rivals[1])}
    for k in (1, 5, 10):
        found[f"t2i_r{k}"], found[f"i2t_r{k}"] = recall_at(t2i, k), recall_at(i2t, k)
    return Hits({name: found[name] for name in METRICS}, t2i, i2t, auc(np.diagonal(scores), scores[~right]))


def mean_hits(each: Sequence[Hits]) -> Hits:
    """Hits of the same queries by several seeds as one: of each query the share of seeds that hit, and the median ranks."""
    metrics = {name: np.asarray(np.mean([one.metrics[name] for one in each], axis=0)) for name in METRICS}
    t2i, i2t = (
        np.median(found, axis=0).astype(np.int64)
        for found in zip(*((one.text_to_image, one.image_to_text) for one in each), strict=True)
    )
    return Hits(metrics, t2i, i2t, float(np.mean([one.auc for one in each])))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a policy did to pairs of those `groups` (n,), which have the `rows` (n,) in its features; `fitted_on` so many of them
    a head was fitted."""

    features: Features
    rows: Ints
    groups: Ints
    fitted_on: int


def estimates(found: Hits, cost: Cost, setting: Setting, seed: int) -> Measured:
    """Values with their intervals, whole and by bucket; pairs of one group are resampled together."""

    def interval(values: npt.ArrayLike, places: Ints | slice = slice(None)) -> Estimate:
        return resampled(np.asarray(values, np.float64)[places], setting.groups[places])

    def resampled(values: Floats, groups: Ints) -> Estimate:
        return bootstrap(values, groups, rounds=1000, seed=seed)

    breakdown: dict[str, dict[str, Estimate]] = {}
    for name, values in setting.buckets.items():
        places = {value: np.flatnonzero(np.array(values) == value) for value in sorted(set(values))}
        breakdown[name] = {
            value: interval(found.metrics["match10"], where) for value, where in places.items() if len(where) >= 10
        }
    return Measured(
        {name: interval(values) for name, values in found.metrics.items()},
        round(found.auc, 4),
        float(np.median(found.text_to_image)),
        resampled(cost.features.text_lost[cost.rows], cost.groups),
        resampled(cost.features.area_lost[cost.rows], cost.groups),
        round(len(cost.features.keys) / max(cost.features.seconds, 1e-9), 1),
        breakdown,
        cost.fitted_on,
    )
