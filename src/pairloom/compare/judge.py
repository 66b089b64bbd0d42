"""The measuring itself: every policy on the same pairs, against the same rivals, under one regime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pairloom.alignment.metrics import Difference, holm, paired
from pairloom.choices import Regime
from pairloom.compare.features import Features
from pairloom.compare.measure import Cost, Hits, estimates, hits, mean_hits, score_matrix
from pairloom.compare.result import METRICS, Comparison, Measured
from pairloom.compare.scorers import Entrant, Trial
from pairloom.compare.setting import FEWEST, Setting
from pairloom.errors import UsageError
from pairloom.models import Model

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Judged:
    """The comparison, the pairs it was measured on, and what each policy hit."""

    comparison: Comparison
    setting: Setting
    hits: dict[str, Hits]


def judge(
    policies: Mapping[str, Entrant], controls: Mapping[str, Entrant], setting: Setting, model: Model, trial: Trial
) -> Judged:
    """Measure policies, and controls of the first one, on the pairs of a setting.

    Raises:
        UsageError: if there are too few different pairs to measure on or to learn from, or all texts are the same.
    """
    seed = trial.seed
    train, test = _split(setting, trial.regime, seed)
    if len(setting.keys) > 1 and (setting.texts == setting.texts[0]).all():
        raise UsageError("all texts are the same, so no text can find its image")
    measured, rivals = setting.only(test), setting.only(test).rivals(seed)
    hits_of: dict[str, Hits] = {}
    results: dict[str, Measured] = {}
    for name, one in {**policies, **controls}.items():
        learnt, groups = _kept(name, one, setting.only(train))
        rows, bank = _rows(one.shown, measured), one.shows.bank(model)
        scores = [score_matrix(one.shown, rows, bank, scorer) for scorer in trial.scorers(one, learnt, groups, model)]
        hits_of[name] = mean_hits([hits(each, measured, rivals) for each in scores])
        own = one.learnt is one.shown
        cost = Cost(one.learnt, rows if own else learnt, measured.groups if own else groups, len(learnt))
        results[name] = estimates(hits_of[name], cost, measured, seed)
        if controls and len(results) == 1:
            for noise, other in _noise(scores[0], seed).items():
                results[noise] = estimates(hits(other, measured, rivals), cost, measured, seed)
    names = list(policies)
    against = _differences(hits_of, names, measured, seed)
    comparison = Comparison(
        {name: results[name] for name in names},
        against,
        len(test),
        len(np.unique(measured.groups)),
        trial.regime,
        "",
        trial.seeds,
        (len(names) - 1) * len(METRICS),
        {},
        {name: one for name, one in results.items() if name not in names},
        {name: dict(sorted(Counter(values).items())) for name, values in measured.buckets.items()},
        trial.head if trial.regime == "refit" else None,
    )
    return Judged(comparison, measured, {name: hits_of[name] for name in names})


def per_query(hits_of: Mapping[str, Hits], setting: Setting) -> dict[str, list[object]]:
    """The columns of `queries.parquet`: one row for each policy and pair."""
    names = ("policy", "key", "group", "t2i_rank", "i2t_rank", "match10", "match10_hard")
    columns: dict[str, list[object]] = {name: [] for name in names}
    for name, found in hits_of.items():
        columns["policy"] += [name] * len(setting.keys)
        columns["key"] += list(setting.keys)
        columns["group"] += setting.groups.tolist()
        columns["t2i_rank"] += found.text_to_image.tolist()
        columns["i2t_rank"] += found.image_to_text.tolist()
        columns["match10"] += (found.metrics["match10"] > 0.5).tolist()
        columns["match10_hard"] += (found.metrics["match10_hard"] > 0.5).tolist()
    return columns


def _split(setting: Setting, regime: Regime, seed: int) -> tuple[Ints, Ints]:
    """Rows to fit on and rows to measure on; a group of duplicates is never on both sides."""
    if regime == "fixed":
        return np.zeros(0, np.int64), np.arange(len(setting.keys))
    groups = np.random.default_rng(seed).permutation(np.unique(setting.groups))
    first = np.isin(setting.groups, groups[: len(groups) // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def _kept(name: str, one: Entrant, setting: Setting) -> tuple[Ints, Ints]:
    """Of the pairs to learn from those that a policy kept: their rows in its features, and their groups."""
    keys = set(one.learnt.keys)
    there = setting.only(np.array([row for row, key in enumerate(setting.keys) if key in keys], np.int64))
    different = len(np.unique(there.groups))
    if setting.keys and different < FEWEST // 2:
        raise UsageError(f"the policy {name} keeps {different} different pairs to learn from; it takes at least {FEWEST // 2}")
    return _rows(one.learnt, there), there.groups


def _rows(features: Features, setting: Setting) -> Ints:
    places = {key: row for row, key in enumerate(features.keys)}
    return np.array([places[key] for key in setting.keys], np.int64)


def _noise(scores: Floats, seed: int) -> dict[str, Floats]:
    """Two controls that need no pixels: every image given to another pair, and numbers drawn by chance."""
    chance = np.random.default_rng(seed)
    return {"shuffled pairs": scores[:, chance.permutation(len(scores))], "chance": chance.random(scores.shape)}


def _differences(
    hits_of: Mapping[str, Hits], names: Sequence[str], setting: Setting, seed: int
) -> dict[str, dict[str, Difference]]:
    first = hits_of[names[0]].metrics
    found = {
        (name, metric): paired(first[metric], hits_of[name].metrics[metric], setting.groups, seed=seed)
        for name in names[1:]
        for metric in METRICS
    }
    corrected = holm([one.p_value for one in found.values()])
    fair = {key: replace(one, p_value=p) for (key, one), p in zip(found.items(), corrected, strict=True)}
    return {name: {metric: fair[name, metric] for metric in METRICS} for name in names[1:]}
