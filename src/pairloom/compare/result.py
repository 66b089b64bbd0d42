"""What a comparison found: plain values that know nothing of terminals or pages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pairloom.alignment.metrics import Difference, Estimate

METRICS = {
    "match10": "10-way matching, random",
    "match10_hard": "10-way matching, hard",
    "t2i_r1": "text → image R@1",
    "t2i_r5": "text → image R@5",
    "t2i_r10": "text → image R@10",
    "i2t_r1": "image → text R@1",
    "i2t_r5": "image → text R@5",
    "i2t_r10": "image → text R@10",
}
"""Hits from 0 to 1 for each query, by the name that `comparison.json` uses."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One policy: the metrics above, what they cost, and how many pairs a head was fitted on."""

    metrics: dict[str, Estimate]
    auc: float
    median_rank: float
    text_lost: Estimate
    area_lost: Estimate
    pairs_per_second: float
    breakdown: dict[str, dict[str, Estimate]]
    fitted_on: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """All policies on the same pairs; differences are to the first one, their probabilities corrected for `comparisons`.

    `left_out` says how many pairs each policy rejected that are therefore not compared, or with a `test`, the recipe that made
    what all were measured on, not learnt from; `head` what `refit` fitted.
    """

    policies: dict[str, Measured]
    against_first: dict[str, dict[str, Difference]]
    gallery: int
    groups: int
    regime: str
    model: str
    seeds: tuple[int, ...]
    comparisons: int
    left_out: dict[str, int]
    controls: dict[str, Measured]
    buckets: dict[str, dict[str, int]]
    head: str | None = None
    test: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The stable contract of `comparison.json`."""
        against = {
            name: {
                **{part: asdict(found["match10"])[part] for part in ("difference", "p_value", "error_reduction")},
                "metrics": {metric: asdict(one) for metric, one in found.items()},
            }
            for name, found in self.against_first.items()
        }
        return {
            "policies": {name: _measured(one) for name, one in self.policies.items()},
            "against_first": against,
            "gallery": {
                "images": self.gallery,
                "groups": self.groups,
                "positives_per_query": round(self.gallery / max(1, self.groups), 3),
                "ties": "count as ranked before the right answer",
                "ways": 10,
                "buckets": self.buckets,
            },
            "regime": self.regime,
            "head": self.head,
            "test": self.test,
            "model": self.model,
            "seeds": list(self.seeds),
            "comparisons": self.comparisons,
            "left_out": self.left_out,
            "controls": {name: _measured(one) for name, one in self.controls.items()},
        }

    def _repr_html_(self) -> str:
        from pairloom.compare.write import page
        from pairloom.report.page import framed

        return framed(page(self), 48)


def _measured(one: Measured) -> dict[str, Any]:
    rest = {name: getattr(one, name) for name in ("auc", "median_rank", "pairs_per_second", "fitted_on")}
    losses = {"text_lost": asdict(one.text_lost), "area_lost": asdict(one.area_lost)}
    broken = {name: {value: asdict(each) for value, each in values.items()} for name, values in one.breakdown.items()}
    return {name: asdict(each) for name, each in one.metrics.items()} | rest | losses | {"breakdown": broken}
