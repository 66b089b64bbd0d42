"""Whole preprocessing policies on the same pairs: which one helps text and image find each other, and how sure that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pairloom.batch import Pixels
from pairloom.choices import Heads, Regime
from pairloom.compare.cache import kept_features, kept_setting
from pairloom.compare.features import Features, Known, Policy, Widest, compute
from pairloom.compare.judge import judge, per_query
from pairloom.compare.result import Comparison, Measured
from pairloom.compare.scorers import Entrant, Trial
from pairloom.compare.setting import FEWEST, Setting, survey
from pairloom.compare.write import write_comparison
from pairloom.errors import UsageError
from pairloom.extras import need
from pairloom.models import bank_digest, load
from pairloom.pipeline import plan_of
from pairloom.readers.model import ReadOptions
from pairloom.recipe import Recipe
from pairloom.step import threads
from pairloom.steps.decode import Decode
from pairloom.writers.arrays import digest

__all__ = ["Comparison", "Measured", "compare"]

Made = tuple[Policy, Features]
"""A policy and what it made of the pairs."""


def compare(
    inputs: str | Path | Sequence[str | Path],
    policies: Sequence[str] | Mapping[str, Recipe],
    out: str | Path,
    *,
    model: str = "mini",
    regime: Regime = "fixed",
    head: Heads = "closed",
    test: str | Recipe | None = None,
    sample: int | None = None,
    seed: int = 0,
    controls: bool = False,
    device: str = "auto",
    workers: int = 1,
    reading: ReadOptions | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Comparison:
    """Compare policies, recipes by name or file, and write `comparison.json`, `.html` and `queries.parquet` below `out`.

    In the regime `fixed` the model is as it is and the preprocessing varies; `refit` fits a head on half of the pairs for each
    policy and measures on the other half, since `fixed` favours what the model was trained with: a ridge regression in `closed`
    form, or the `trained` attention head, which needs torch, with three seeds. With `test` that recipe prepares what all are
    measured on, and a policy only what its head learns from: filters, augmentation, `select:`, text chosen by the image. What was
    embedded is kept below `out`, so a second comparison of the same is quick.

    Raises:
        RecipeError, UsageError: if it can't work as asked, if too few pairs are kept by all policies, or a policy keeps none.
    """
    if test is not None and regime == "fixed":
        raise UsageError("a recipe to test by takes heads that learn: --test needs --regime refit")
    trial, reading, folder, encoder = Trial(regime, head, seed), reading or ReadOptions(), Path(out), load(model, device)
    everyone = _policies(policies, learn=test is not None) + ([] if test is None else [_tested(test)])
    if head == "trained":
        need("torch", "torch", "training a head")  # before the long part
    for policy in everyone:
        if policy.align:
            policy.align.trained(encoder)  # may be one of another model
    plan = plan_of(inputs, reading, 10_000, None, sample)
    said = [plan.to_json(), dataclasses.asdict(reading), encoder.fingerprint, bank_digest()]
    lines = [policy.said for policy in everyone]
    widest, known = Widest(everyone), Known(encoder)

    def features(number: int, *control: str) -> Features:
        policy = everyone[number]
        say(f"control {control[0]}" if control else f"policy {policy.name}")
        path = folder / "features" / f"{digest(*control, lines[number], lines, *said)}.npz"
        changes = [_CONTROLS[name] for name in control]
        return kept_features(path, lambda: compute(policy, widest, plan, reading, known, *changes))

    with threads(workers):
        setting = kept_setting(folder / "features" / f"{digest('setting', *said)}.npz", lambda: survey(plan, reading, known))
        found = [features(number) for number in range(len(everyone))]
        changed = {name: features(0 if test is None else -1, name) for name in _CONTROLS if controls}
    say("scores")
    made = list(zip(everyone, found, strict=True))
    entrants, blind = _entrants(made, changed) if test is None else _tested_entrants(made[:-1], made[-1], changed)
    kept = {policy.name: _keys(policy, one) for policy, one in made}
    shared = _shared(setting, kept if test is None else {everyone[-1].name: _keys(*made[-1])})
    judged = judge(entrants, blind, shared, encoder, trial)
    left_out = {name: len(set(setting.keys) - set(one.learnt.keys)) for name, one in entrants.items()}
    name = None if test is None else everyone[-1].name
    comparison = dataclasses.replace(judged.comparison, model=model, left_out=left_out, test=name)
    write_comparison(folder, comparison, per_query(judged.hits, judged.setting))
    return comparison


def _entrants(made: Sequence[Made], changed: Mapping[str, Features]) -> tuple[dict[str, Entrant], dict[str, Entrant]]:
    """Who is compared, and the controls: all that the first policy made, changed."""
    first, _ = made[0]
    entrants = {policy.name: Entrant(policy, one, policy, one) for policy, one in made}
    return entrants, {name: Entrant(first, one, first, one) for name, one in changed.items()}


def _tested_entrants(
    made: Sequence[Made], test: Made, changed: Mapping[str, Features]
) -> tuple[dict[str, Entrant], dict[str, Entrant]]:
    """The same, all measured on what one recipe made; the controls change that alone."""
    entrants = {policy.name: Entrant(policy, one, *test) for policy, one in made}
    return entrants, {name: Entrant(*made[0], test[0], one) for name, one in changed.items()}


def _policies(policies: Sequence[str] | Mapping[str, Recipe], learn: bool) -> list[Policy]:
    named = policies if isinstance(policies, Mapping) else {Path(name).stem: Recipe.load(name) for name in policies}
    if len(named) < max(2, len(policies)):
        raise UsageError("a comparison needs at least two policies, of different names")
    return [_policy(name, recipe, learn) for name, recipe in named.items()]


def _tested(test: str | Recipe) -> Policy:
    return _policy(Path(test).stem, Recipe.load(test)) if isinstance(test, str) else _policy("test", test)


def _policy(name: str, recipe: Recipe, learns: bool = False) -> Policy:
    if not isinstance(next(iter(recipe.steps), None), Decode):
        raise UsageError(f"the policy {name} does not begin with `decode`, so there is nothing to compare it by")
    return Policy(name, recipe, learns)


def _keys(policy: Policy, features: Features) -> set[str]:
    if not features.keys:
        raise UsageError(f"the policy {policy.name} rejects every pair, so there is nothing to compare")
    return set(features.keys)


def _shared(setting: Setting, kept: Mapping[str, set[str]]) -> Setting:
    """The pairs that all of these policies kept."""
    rows = [row for row, key in enumerate(setting.keys) if all(key in keys for keys in kept.values())]
    if len(rows) < FEWEST <= len(setting.keys):
        drops = ", ".join(f"{name} rejects {len(setting.keys) - len(keys)}" for name, keys in kept.items())
        raise UsageError(f"all policies keep only {len(rows)} of {len(setting.keys)} pairs; it takes at least {FEWEST} ({drops})")
    return setting.only(np.array(rows, np.int64))


def _blank(pixels: Pixels) -> Pixels:
    return np.full_like(pixels, 127)


def _shuffled_tiles(pixels: Pixels) -> Pixels:
    """The same in sixteen pieces that have changed their places: all of the colours, none of the shapes."""
    height, width = (max(1, side // 4) for side in pixels.shape[:2])
    order = np.random.default_rng(0).permutation(16)
    out = pixels.copy()
    for place, source in enumerate(order):
        (y, x), (v, u) = divmod(place, 4), divmod(int(source), 4)
        piece = pixels[v * height : (v + 1) * height, u * width : (u + 1) * width]
        out[y * height : y * height + piece.shape[0], x * width : x * width + piece.shape[1]] = piece
    return out


_CONTROLS: dict[str, Callable[[Pixels], Pixels]] = {"blank images": _blank, "shuffled tiles": _shuffled_tiles}
