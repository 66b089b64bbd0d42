"""The measuring itself: every policy on the same pairs, against the same rivals, under one regime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pairloom.alignment.metrics import Difference, holm, paired
from pairloom.choices import Regime
from pairloom.compare.features import Features, Policy
from pairloom.compare.measure import Hits, estimates, hits, mean_hits, score_matrix
from pairloom.compare.result import METRICS, Comparison, Measured
from pairloom.compare.scorers import Trial
from pairloom.compare.setting import Setting
from pairloom.errors import UsageError
from pairloom.models import Model, embed_bank

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Judged:
    """The comparison, the pairs it was measured on, and what each policy hit."""

    comparison: Comparison
    setting: Setting
    hits: dict[str, Hits]


def judge(
    found: Mapping[str, Features],
    changed: Mapping[str, Features],
    policies: Sequence[Policy],
    setting: Setting,
    model: Model,
    trial: Trial,
) -> Judged:
    """Measure policies (`found`) and controls of the first one (`changed`) on the pairs of a setting.

    Raises:
        UsageError: if there are too few different pairs, or all texts are the same.
    """
    seed = trial.seed
    train, test = _split(setting, trial.regime, seed)
    if len(setting.keys) > 1 and (setting.texts == setting.texts[0]).all():
        raise UsageError("all texts are the same, so no text can find its image")
    measured, rivals = setting.only(test), setting.only(test).rivals(seed)
    everyone = {**found, **changed}
    hits_of: dict[str, Hits] = {}
    results: dict[str, Measured] = {}
    for name, features in everyone.items():
        policy = next((one for one in policies if one.name == name), policies[0])
        bank = embed_bank(model, policy.align.bank if policy.align else None)
        rows = _rows(features, setting)
        scorers = trial.scorers(policy, features, rows[train], setting.groups[train], bank, model)
        scores = [score_matrix(features, rows[test], bank, scorer) for scorer in scorers]
        hits_of[name] = mean_hits([hits(each, measured, rivals) for each in scores])
        results[name] = estimates(hits_of[name], features, rows[test], measured, seed)
        if changed and name == policies[0].name:
            _shuffled(scores[0], measured, rivals, features, rows[test], seed, results)
    names = [policy.name for policy in policies]
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


def _rows(features: Features, setting: Setting) -> Ints:
    places = {key: row for row, key in enumerate(features.keys)}
    return np.array([places[key] for key in setting.keys], np.int64)


def _shuffled(
    scores: npt.NDArray[np.float64], setting: Setting, rivals: tuple[Ints, Ints], features: Features, rows: Ints, seed: int,
    results: dict[str, Measured],
) -> None:  # fmt: skip
    """Two controls that need no pixels: every image given to another pair, and numbers drawn by chance."""
    chance = np.random.default_rng(seed)
    for name, noise in (("shuffled pairs", scores[:, chance.permutation(len(scores))]), ("chance", chance.random(scores.shape))):
        results[name] = estimates(hits(noise, setting, rivals), features, rows, setting, seed)


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
