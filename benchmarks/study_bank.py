"""What scores are corrected by: the mean over the bank of images, and a bank of other pairs' texts or images against hubs.

A hub is an image that scores high with every text. Nearest neighbour normalisation (Chowdhury et al. 2024) takes from the scores
of each image a share of the mean of its best scores among a bank of other texts, and the same the other way round. Here that bank
is the half of the pairs that nothing is measured on; on it the share and the number of best scores are chosen, too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairloom import Recipe, evaluate
from pairloom.alignment.attention import align_each
from pairloom.alignment.bank import Bank
from pairloom.compare.features import Known, Policy, Widest, compute
from pairloom.compare.measure import score_matrix
from pairloom.compare.scorers import Pooled
from pairloom.compare.setting import Setting, survey
from pairloom.models import load
from pairloom.pipeline import plan_of
from pairloom.readers.model import ReadOptions

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NEIGHBOURS, SHARES = (1, 4, 16, 64), (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Uncorrected(Pooled):
    """Attention without the bank's mean taken off; the weights are the same."""

    def align_cosines(self, plain: npt.ArrayLike, texts: Floats, cosines: Floats, bank: Bank) -> Floats:
        mean, informativeness = bank.statistics(texts)
        return align_each(cosines, np.zeros_like(mean), informativeness, self.pooling, self.kind)


def without_hubs(scores: Floats, others: Floats, neighbours: int, share: float) -> Floats:
    """Scores (texts, images) less a share of the mean of each image's best among `others`, (other texts, images)."""
    return scores - share * np.sort(others, axis=0)[-neighbours:].mean(axis=0)


def bank_rows(pairs: Path, recipe: Recipe, name: str) -> dict[str, Any]:
    """R@1 both ways and 10-way matching of the full policy on half of the pairs, and what each correction adds to them."""
    model, reading, policy = load(name), ReadOptions(), Policy("full", recipe)
    plan, known = plan_of(pairs, reading, 10_000, None, None), Known(model)
    setting = survey(plan, reading, known)
    features = compute(policy, Widest([policy]), plan, reading, known)
    places = {key: row for row, key in enumerate(features.keys)}
    setting = setting.only(np.array([row for row, key in enumerate(setting.keys) if key in places], np.int64))
    rows, bank = np.array([places[key] for key in setting.keys], np.int64), policy.bank(model)
    chance = np.random.default_rng(0)
    half = np.isin(setting.groups, chance.permutation(np.unique(setting.groups))[::2])
    learn, test = np.flatnonzero(half), np.flatnonzero(~half)
    scores = score_matrix(features, rows, bank, Pooled(model.pooling, policy.kind))
    plain = score_matrix(features, rows, bank, Uncorrected(model.pooling, policy.kind))
    cut = [_cut(each, setting, learn, test, chance) for each in (scores, scores.T)]
    shown = setting.only(test)
    base = _hits(scores[np.ix_(test, test)], scores[np.ix_(test, test)], shown)
    found = {
        "without the bank's mean": _hits(plain[np.ix_(test, test)], plain[np.ix_(test, test)], shown),
        "against hubs": _hits(cut[0], cut[1].T, shown),
    }
    told: dict[str, Any] = {"full": {key: asdict(evaluate.bootstrap(hits, shown.groups)) for key, hits in base.items()}}
    for title, each in found.items():
        told[title] = {key: asdict(evaluate.paired(base[key], hits, shown.groups)) for key, hits in each.items()}
    return told | {"pairs": len(test), "learnt": len(learn)}


def _cut(scores: Floats, setting: Setting, learn: Ints, test: Ints, chance: np.random.Generator) -> Floats:
    """The scores (queries, items) of the pairs to measure on, corrected as the others say."""
    bank, tried = np.split(chance.permutation(learn), [len(learn) // 2])
    right = setting.groups[tried][:, None] == setting.groups[tried][None, :]

    def worth(one: tuple[int, float]) -> float:
        cut = without_hubs(scores[np.ix_(tried, tried)], scores[np.ix_(bank, tried)], *one)
        return float((1 / evaluate.ranks(cut, right)).mean())

    best = max(((1, 0.0), *((count, share) for count in NEIGHBOURS for share in SHARES)), key=worth)
    return without_hubs(scores[np.ix_(test, test)], scores[np.ix_(learn, test)], *best)


def _hits(to_image: Floats, to_text: Floats, setting: Setting) -> dict[str, Floats]:
    """Of each pair: whether its text finds its image, its image its text, and the text its image among ten."""
    right = setting.groups[:, None] == setting.groups[None, :]
    return {
        "t2i_r1": evaluate.recall_at(evaluate.ranks(to_image, right), 1),
        "i2t_r1": evaluate.recall_at(evaluate.ranks(to_text.T, right), 1),
        "match10": evaluate.matches(to_image, np.arange(len(right)), setting.rivals(0)[0]),
    }
