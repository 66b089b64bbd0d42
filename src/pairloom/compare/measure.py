"""From the features of a policy to its hits, and from hits to estimates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairloom.alignment.attention import Pooling, align_each, bank_statistics
from pairloom.alignment.head import Head
from pairloom.alignment.metrics import Estimate, auc, bootstrap, matches, ranks, recall_at
from pairloom.choices import Kind
from pairloom.compare.features import Features
from pairloom.compare.result import METRICS, Measured
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


def score_matrix(
    features: Features, rows: Ints, bank: npt.NDArray[np.float32], pooling: Pooling, kind: Kind, head: Head | None
) -> Floats:
    """How well the text of each of the rows fits the image of each, float (n, n)."""
    views = [features.images[row].astype(np.float64) for row in rows]
    most = max(map(len, views))
    lengths = np.array([len(each) for each in views])
    scores = np.empty((len(rows), len(rows)))
    for number, row in enumerate(rows):
        texts = features.texts[row].astype(np.float64)
        texts = head(texts) if head else texts
        statistics = bank_statistics(texts, bank)
        for length in range(1, most + 1):
            places = np.flatnonzero(lengths == length)
            if places.size:
                stacked = np.stack([views[place] for place in places])
                cosines = np.einsum("sd,nvd->snv", texts, stacked)
                scores[number, places] = align_each(cosines, *statistics, pooling, kind)
    return scores


def hits(scores: Floats, setting: Setting, rivals: tuple[Ints, Ints]) -> Hits:
    """What the scores of a setting's pairs find."""
    right = setting.groups[:, None] == setting.groups[None, :]
    t2i, i2t, own = ranks(scores, right), ranks(scores.T, right), np.arange(len(scores))
    found = {"match10": matches(scores, own, rivals[0]), "match10_hard": matches(scores, own, rivals[1])}
    for k in (1, 5, 10):
        found[f"t2i_r{k}"], found[f"i2t_r{k}"] = recall_at(t2i, k), recall_at(i2t, k)
    return Hits({name: found[name] for name in METRICS}, t2i, i2t, auc(np.diagonal(scores), scores[~right]))


def estimates(found: Hits, features: Features, rows: Ints, setting: Setting, seed: int) -> Measured:
    """Values with their intervals, whole and by bucket; pairs of one group are resampled together."""

    def interval(values: npt.ArrayLike, places: Ints | slice = slice(None)) -> Estimate:
        return bootstrap(np.asarray(values, np.float64)[places], setting.groups[places], rounds=1000, seed=seed)

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
        interval(features.text_lost[rows]),
        interval(features.area_lost[rows]),
        round(len(features.keys) / max(features.seconds, 1e-9), 1),
        breakdown,
    )


def pooled_texts(features: Features, rows: Ints, bank: npt.NDArray[np.float32], gamma: float) -> Floats:
    """One vector a text for fitting heads, float (n, d): its pieces weighted by how informative they are, no image in view."""
    made = []
    for row in rows:
        texts = features.texts[row].astype(np.float64)
        _, deviation = bank_statistics(texts, bank)
        weights = (deviation / max(deviation.max(), 1e-12)) ** gamma
        vector = weights @ texts
        made.append(vector / np.linalg.norm(vector))
    return np.stack(made)
