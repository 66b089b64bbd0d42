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
from pairloom.compare.scorers import Trial
from pairloom.compare.setting import Setting, survey
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


def compare(
    inputs: str | Path | Sequence[str | Path],
    policies: Sequence[str] | Mapping[str, Recipe],
    out: str | Path,
    *,
    model: str = "mini",
    regime: Regime = "fixed",
    head: Heads = "closed",
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
    form, or the `trained` attention head, which needs torch, with three seeds. What was embedded is kept below `out`, so a second
    comparison of the same is quick.

    Raises:
        RecipeError, UsageError: if it can't work as asked, if too few pairs are kept by all policies, or a policy keeps none.
    """
    chosen, trial = _policies(policies), Trial(regime, head, seed)
    reading, folder, encoder = reading or ReadOptions(), Path(out), load(model, device)
    if head == "trained":
        need("torch", "torch", "training a head")  # before the long part
    for policy in chosen:
        if policy.align:
            policy.align.trained(encoder)  # may be one of another model
    plan = plan_of(inputs, reading, 10_000, None, sample)
    said = [plan.to_json(), dataclasses.asdict(reading), encoder.fingerprint, bank_digest()]
    lines = [(policy.recipe.to_literal()["steps"], policy.recipe.versions()) for policy in chosen]
    widest, known = Widest(chosen), Known(encoder)
    with threads(workers):
        setting = kept_setting(folder / "features" / f"{digest('setting', *said)}.npz", lambda: survey(plan, reading, known))
        found: dict[str, Features] = {}
        for policy, line in zip(chosen, lines, strict=True):
            say(f"policy {policy.name}")
            path = folder / "features" / f"{digest(line, lines, *said)}.npz"
            found[policy.name] = kept_features(path, lambda policy=policy: compute(policy, widest, plan, reading, known))  # type: ignore[misc]
        changed: dict[str, Features] = {}
        for name, change in _CONTROLS.items() if controls else ():
            say(f"control {name}")
            path = folder / "features" / f"{digest(name, lines[0], lines, *said)}.npz"
            changed[name] = kept_features(path, lambda change=change: compute(chosen[0], widest, plan, reading, known, change))  # type: ignore[misc]
    say("scores")
    shared, left_out = _shared(setting, found)
    judged = judge(found, changed, chosen, shared, encoder, trial)
    comparison = dataclasses.replace(judged.comparison, model=model, left_out=left_out)
    write_comparison(folder, comparison, per_query(judged.hits, judged.setting))
    return comparison


def _policies(policies: Sequence[str] | Mapping[str, Recipe]) -> list[Policy]:
    named = policies if isinstance(policies, Mapping) else {Path(name).stem: Recipe.load(name) for name in policies}
    if len(named) < max(2, len(policies)):
        raise UsageError("a comparison needs at least two policies, of different names")
    for name, recipe in named.items():
        if not isinstance(next(iter(recipe.steps), None), Decode):
            raise UsageError(f"the policy {name} does not begin with `decode`, so there is nothing to compare it by")
    return [Policy(name, recipe) for name, recipe in named.items()]


def _shared(setting: Setting, found: Mapping[str, Features]) -> tuple[Setting, dict[str, int]]:
    """The pairs that all policies kept, and how many of them all each policy did not."""
    kept = {name: set(features.keys) for name, features in found.items()}
    for name, keys in kept.items():
        if not keys:
            raise UsageError(f"the policy {name} rejects every pair, so there is nothing to compare")
    rows = [row for row, key in enumerate(setting.keys) if all(key in keys for keys in kept.values())]
    return setting.only(np.array(rows, np.int64)), {name: len(set(setting.keys) - keys) for name, keys in kept.items()}


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
