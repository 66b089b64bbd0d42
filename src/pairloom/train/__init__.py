"""Fitting the attention head: frozen features of pairs in, a head for `align: {head: …}` out."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairloom.alignment.export import head_graph
from pairloom.alignment.trained import FILE
from pairloom.choices import Fitting
from pairloom.errors import UsageError
from pairloom.extras import need
from pairloom.models import embed_bank, load
from pairloom.pipeline import plan_of
from pairloom.progress import Progress
from pairloom.readers.model import ReadOptions
from pairloom.recipe import Recipe
from pairloom.score import scoring
from pairloom.step import threads
from pairloom.steps.align import Align
from pairloom.train.features import Pairs, embed_pairs, kept_pairs
from pairloom.train.fit import Epoch, fit_attention_head
from pairloom.writers.arrays import digest
from pairloom.writers.parts import Parts

__all__ = ["Epoch", "Fitting", "Pairs", "Trained", "fit_attention_head", "train"]


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training: the folder of the head, its model, how many images, texts and groups of duplicates there were, and
    what every epoch came to, number 0 being the head before any training."""

    head: str
    model: str
    images: int
    texts: int
    groups: int
    epochs: tuple[Epoch, ...]
    seconds: float

    @property
    def best(self) -> Epoch:
        """The epoch that the head is of."""
        return max((epoch for epoch in self.epochs if epoch.best), key=lambda epoch: epoch.number)

    def to_json(self) -> dict[str, Any]:
        """All of it, and the number of the best epoch."""
        return asdict(self) | {"best": self.best.number}


def train(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    recipe: str | Recipe = "default",
    *,
    fitting: Fitting | None = None,
    workers: int = 1,
    sample: int | None = None,
    reading: ReadOptions | None = None,
    restart: bool = False,
    onnx: bool = False,
    hear: Callable[[Progress], None] | None = None,
    show: Callable[[Epoch], None] = lambda epoch: None,
) -> Trained:
    """Fit the attention head on the pairs of `inputs` for the model, views and bank that `align` in the recipe names.

    The folder `out` gets `head.safetensors`, `training.json` with what every epoch came to, `checkpoint.safetensors`, and the
    embeddings in `features/`; with `onnx` also `head.onnx`, for use elsewhere. Running the same again goes on where it was
    interrupted and comes to the same bytes. `hear` is told how far the embedding is, `show` of every epoch as it ends. The head
    runs without torch; training needs it.

    Raises:
        RecipeError, UsageError: if it can't work as asked, torch is missing, there are fewer than 20 different pairs, or `out`
            holds a checkpoint of another training and not `restart`.
    """
    start, folder = time.perf_counter(), Path(out)
    reading, fitting = reading or ReadOptions(), fitting or Fitting()
    need("torch", "torch", "training a head")  # both before the long part
    if onnx:
        need("onnx", "torch", "exporting a head to ONNX")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give the name of a folder")
    *before, scorer = scoring(recipe if isinstance(recipe, Recipe) else Recipe.load(recipe))
    assert isinstance(scorer, Align)
    align = dataclasses.replace(scorer, head=None, pooling="attention")
    model = load(align.model, align.device)
    line = Recipe((*before, align))
    plan = plan_of(inputs, reading, 10_000, None, sample)
    checkpoint = folder / "checkpoint.safetensors"
    if restart:
        checkpoint.unlink(missing_ok=True)
    progress = Progress(sum(shard.rows for shard in plan.shards), 1.0, hear)
    named = digest(plan.to_json(), dataclasses.asdict(reading), line.to_literal(), line.versions())
    with threads(workers):
        pairs = kept_pairs(
            folder / "features" / f"{named}.npz",
            lambda: embed_pairs((*before, align), plan, reading, model, lambda counts: progress.hear(0, counts)),
        )
        bank = embed_bank(model, align.bank)
    head, epochs = fit_attention_head(pairs, bank, model.pooling, fitting, checkpoint, show)
    counts = len(pairs.views), len(pairs.texts), len(set(pairs.groups.tolist()))
    trained = Trained(str(out), model.name, *counts, tuple(epochs), round(time.perf_counter() - start, 1))
    with Parts(folder) as parts:
        parts.open(FILE).write(dataclasses.replace(head, model=model.name, identity=model.identity).to_bytes())
        if onnx:
            parts.open("head.onnx").write(head_graph(head, head.bank(bank)))
        said = trained.to_json() | {"fitting": asdict(fitting), "identity": model.identity, "views": align.views}
        parts.open("training.json").write((json.dumps(said, ensure_ascii=False, indent=1) + "\n").encode())
        parts.publish()
    return trained
