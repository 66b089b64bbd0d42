"""Words to choose by, in recipes and on the command line; here because importing what they are for takes long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pairloom.errors import UsageError

Kind = Literal["whole", "mean", "max", "softmax", "attention"]
"""How segments become one score."""

Views = Literal["whole", "long", "tiles"]
"""What of an image is looked at."""

Regime = Literal["fixed", "refit"]
"""How policies are compared: with the model as it is, or with a head refitted for each."""

Heads = Literal["closed", "trained"]
"""What a refitted head is: a closed form, or the attention head of `train`."""

Fetch = Literal["no", "public", "any"]
"""Whether images that a table gives as URLs are fetched, and from where."""

Layout = Literal["mds", "huggingface", "imagefolder", "llava", "datacomp", "croissant", "csv"]
"""What an output can be exported to."""

Format = Literal["webdataset", "parquet"]
"""What a run writes."""

PROMPT = "Describe the image briefly."
"""What the human asks in LLaVA's conversations, if nothing else is given."""

Loss = Literal["infonce", "sigmoid"]
"""What a trained head is fitted by."""


def shipped_recipes() -> list[str]:
    """The names of the recipes in the package."""
    from importlib import resources

    return sorted(
        f.name.removesuffix(".yaml") for f in (resources.files("pairloom") / "recipes").iterdir() if f.name[0] not in "._"
    )


@dataclass(frozen=True)
class Fitting:
    """How a head is fitted by AdamW: `structure` is the weight of the penalty, `decay` pulls the maps to where they began,
    `dropout` is the share of an embedding's numbers that a batch doesn't see, and training stops when `patience` epochs brought
    nothing on the share `validation` of the groups of duplicates.

    Raises:
        UsageError: if a value makes no sense.
    """

    loss: Loss = "infonce"
    epochs: int = 40
    batch: int = 128
    rate: float = 1e-3
    decay: float = 0.1
    structure: float = 10.0
    dropout: float = 0.2
    validation: float = 0.1
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        whole = min(self.epochs, self.patience) >= 1 and self.batch >= 2 and self.seed >= 0
        if self.loss not in get_args(Loss):
            raise UsageError(f"there is no loss {self.loss!r}; give {' or '.join(get_args(Loss))}")
        if not (whole and self.rate > 0 and min(self.decay, self.structure) >= 0 and 0 <= self.dropout < 1 > self.validation > 0):
            raise UsageError(
                "training needs epochs and patience of at least 1, a batch of at least 2, a rate above 0, structure and decay of "
                "at least 0, dropout from 0 to below 1, validation between 0 and 1, a seed of at least 0"
            )
