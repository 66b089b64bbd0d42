"""The loader: an iterable of batches that knows its length, is the same for any number of workers, and resumes anywhere."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from pairloom.cache import user_cache
from pairloom.errors import RunError, UsageError
from pairloom.models.reader import TextReader
from pairloom.output import PLAN
from pairloom.readers.inputs import exists
from pairloom.readers.model import ReadOptions
from pairloom.recipe import Recipe
from pairloom.torch.augment import Augment
from pairloom.torch.cache import Cache
from pairloom.torch.choose import Source, reader_of, transform_of
from pairloom.torch.collate import Batch, Collate, Counts
from pairloom.torch.images import Images, image_lengths
from pairloom.torch.index import Index, joined
from pairloom.torch.machine import Machine
from pairloom.torch.output import output_index
from pairloom.torch.pairs import Pairs
from pairloom.torch.plain import plain_index
from pairloom.torch.plan import Batching, Lengths, Schedule, schedule
from pairloom.torch.texts import Choice
from pairloom.torch.work import Failure, Job, Work

_FEW = 20  # bad pairs that are no reason to stop, whatever their share
_BYTES_A_TOKEN = 4  # where nobody counted the tokens


class PairLoader:
    """Batches of training-ready pairs, for an epoch at a time.

    Args:
        path: an output of `pairloom run` (folder or URL), WebDataset tars, a table or a Hugging Face folder; or a mapping from
            several of these to how often an epoch shows each of their pairs.
        batch_size: pairs a batch and rank; or give a `Batching`.
        image, text: the model's transform and text rules, by what `transform_of` and `reader_of` take; by default those of the
            recipe the set was made with.
        augment, choice: changes of images; which part of a text is read.
        tiles: show the recorded tiles instead of the whole image.
        max_bad: share of the pairs that may be unreadable and replaced before the loader stops.

    Iterating yields dictionaries of tensors, described at `image_batch`, `text_batch` and `packed_batch`, with `alignment`
    float32 (B,), NaN where it was not measured, and `keys`, a list of strings (transformers calls another thing `key`). When
    an epoch ends, the next iteration is the next epoch.

    Raises:
        UsageError: if the set is not whole, or the options don't fit it or each other.
        RunError: while iterating, if a worker died or hangs, or too many pairs are bad. `state_dict` goes on from there.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str] | Mapping[str, float],
        batch_size: int | Batching,
        *,
        image: Source = None,
        text: TextReader | Recipe | str | None = None,
        augment: Augment | None = None,
        choice: Choice = Choice(),  # noqa: B008 - frozen
        tiles: bool = False,
        collate: Collate = Collate(),  # noqa: B008 - frozen
        seed: int = 0,
        max_bad: float = 0.01,
        machine: Machine = Machine(),  # noqa: B008 - frozen
        reading: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    ) -> None:
        self.batching = batch_size if isinstance(batch_size, Batching) else Batching(batch_size)
        self.machine, self.seed, self.max_bad = machine, seed, max_bad
        self.rank, self.ranks = machine.place()
        cache = Cache(Path(machine.cache or user_cache() / "shards"), machine.cache_bytes)
        sets = list(path.items()) if isinstance(path, Mapping) else [(path, 1.0)]
        if not sets or not all(0 <= times < math.inf for _, times in sets):
            raise UsageError("give at least one set, each with a weight that is no less than 0 and finite")
        if seed < 0 or not 0 <= max_bad <= 1:
            raise UsageError(f"seed is {seed}, which must be at least 0; max_bad is {max_bad}, which must be between 0 and 1")
        opened = [open_index(name, cache, reading) for name, _ in sets]
        recipe = _recipe_of(opened[0])
        self.images = Images(transform_of(recipe if image is None else image), augment, tiles)
        self.reader = reader_of(recipe if text is None else text)
        self.index = joined([_counted_by(self.reader, index) for index in opened])
        self._sets = [(len(index), float(times)) for index, (_, times) in zip(opened, sets, strict=True)]
        self.lengths = self._lengths(choice, collate)
        self._check(collate, choice)
        pairs = Pairs(self.index, cache, reading)
        self._work = Work(pairs, self.images, self.reader, choice, collate, self.lengths.bucket, seed)
        self.epoch = self.step = 0
        self._resume = 0
        self._planned: tuple[int, Schedule] | None = None
        self._loader: Any = None
        self._jobs = _Jobs()
        self._counts, self._batches, self._dropped, self._waited = Counts(), 0, 0, 0.0

    def __len__(self) -> int:
        """The number of batches in this epoch, the same on every rank."""
        return len(self.schedule)

    @property
    def schedule(self) -> Schedule:
        """The global batches of this epoch."""
        if self._planned is None or self._planned[0] != self.epoch:
            plan = schedule(self.lengths, self.batching, self.ranks, self.seed, self.epoch, self._sets)
            self._planned = self.epoch, plan
        return self._planned[1]

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of another epoch; does nothing if it is that one already, resumed or not."""
        if epoch != self.epoch:
            self.epoch, self.step, self._resume = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Where this loader stands, as plain values: after the last batch that it yielded."""
        ended = self.step >= len(self)
        position = {"epoch": self.epoch + ended, "step": 0 if ended else self.step}
        return {**position, "made_of": self._made_of}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where another loader stood, with any number of workers, and of ranks if the global batch stays the same.

        Raises:
            UsageError: if it loaded something else: another set, recipe, batching, seed, transform or augmentation.
        """
        mine, theirs = self._made_of, state.get("made_of", {})
        differ = [f"{name}: was {theirs.get(name)}, is {mine[name]}" for name in mine if mine[name] != theirs.get(name)]
        if differ:
            raise UsageError("this state is of a loader of something else:\n  " + "\n  ".join(differ))
        self.epoch = int(state["epoch"])
        self.step = self._resume = int(state["step"])

    def stats(self) -> dict[str, Any]:
        """What this rank has loaded so far, and what of it was padding.

        `text_padding` and `image_padding` are padded over useful places; `seconds_waited` is how long batches were waited for;
        `skipped` pairs of sets without a ledger can't be used; `dropped` were left out of the epochs by the remainder rule.
        """
        counts = self._counts
        return {
            "batches": self._batches,
            **asdict(counts),
            "text_padding": counts.text_padded / max(1, counts.text_useful),
            "image_padding": counts.image_padded / max(1.0, counts.image_useful),
            "seconds_waited": self._waited,
            "skipped": self.index.skipped,
            "dropped": self._dropped,
        }

    def __iter__(self) -> Iterator[Batch]:
        self.step, self._resume = self._resume, 0
        plan, epoch = self.schedule, self.epoch
        self._jobs.jobs = [Job(epoch, plan.batch(step), self.rank, self.ranks) for step in range(self.step, len(plan))]
        batches = iter(self._open())
        for _ in self._jobs.jobs[:]:
            batch = self._next(batches)
            self.step += 1
            yield batch
        self.epoch, self.step, self._dropped = epoch + 1, 0, self._dropped + plan.dropped

    def _next(self, batches: Iterator[Any]) -> Batch:
        start = time.perf_counter()
        try:
            made = next(batches)
        except RuntimeError as fault:
            if "DataLoader" not in str(fault):
                raise
            self._loader = None  # its processes are not all there any more
            raise RunError(f"no batch came from the workers ({fault}); batch {self.step} of epoch {self.epoch} is the "
                           "next, and a new iteration after load_state_dict(state_dict()) goes on with it") from None  # fmt: skip
        self._waited += time.perf_counter() - start
        if isinstance(made, Failure):
            raise RunError(made.message)
        batch, counts = made
        self._counts.add(counts)
        self._batches += 1
        if self._counts.replaced > max(_FEW, self.max_bad * self._counts.pairs):
            raise RunError(f"{self._counts.replaced} of {self._counts.pairs} pairs could not be read ({self._counts.reasons}), "
                           f"more than max_bad {self.max_bad:.2%} allows; `pairloom verify` tells which")  # fmt: skip
        return batch  # type: ignore[no-any-return]

    def _open(self) -> Any:
        if self._loader is None or not _alive(self._loader):
            workers = self.machine.workers
            more = {"prefetch_factor": self.machine.prefetch, "persistent_workers": True, "timeout": self.machine.timeout}
            self._loader = DataLoader(
                self._work, batch_size=None, sampler=self._jobs, num_workers=workers, collate_fn=_as_it_is,
                pin_memory=self.machine.pin_memory, worker_init_fn=_alone, **(more if workers else {}),
            )  # fmt: skip
        return self._loader

    def _lengths(self, choice: Choice, collate: Collate) -> Lengths:
        index, context = self.index, self.reader.context_length
        bucket, image = image_lengths(self.images.transform, index.content, collate.patch_multiple)
        if self.images.tiles:
            bucket, image = index.views, np.stack([image[:, 0] * np.maximum(index.views, 1), image[:, 1]], 1)
        guess = -(-index.characters // _BYTES_A_TOKEN)
        text = np.minimum(np.where(index.tokens >= 0, index.tokens, guess) + 2, context)
        text = np.full_like(text, context) if self.reader.fixed else text
        most = np.where((index.tokens >= 0) & choice.is_whole, text, context)
        most = np.minimum(-(-most // collate.text_multiple) * collate.text_multiple, context) * choice.segments
        return Lengths(*(part.astype(np.int32) for part in (bucket, image, text * choice.segments, most)))

    def _check(self, collate: Collate, choice: Choice) -> None:
        if not len(self.index):
            raise UsageError("there is not one pair to load")
        if self.images.tiles and not self.index.views.all():
            raise UsageError("no tiles are recorded: prepare the set with a `tiles` step")
        if self.images.tiles and self.images.transform.mode in ("naflex", "buckets", "smart"):
            raise UsageError("tiles need a transform that gives all of them one size")
        if collate.dtype == "uint8" and self.images.transform.mode == "naflex":
            raise UsageError("native patches come as float32 only")
        longest = self.reader.context_length * choice.segments
        longest += int(self.lengths.image.prod(1).max()) if collate.image_token is not None else 0
        if collate.pack and longest > collate.pack:
            raise UsageError(f"pack is {collate.pack}; the longest pair may take {longest} tokens")

    @cached_property
    def _made_of(self) -> dict[str, Any]:
        """All that decides which pairs come when and what they look like; of the sizes, those of all ranks together."""
        batching = asdict(self.batching)
        for name in ("batch_size", "token_budget"):
            batching[name] = batching[name] and batching[name] * self.ranks
        batching["divisor"] = self.batching.unit(self.ranks) if self.batching.token_budget else None
        rules = hashlib.sha256(self.reader.rules().encode()).hexdigest()[:16]
        work = self._work
        return {
            "set": self.index.digest, "shares": [list(one) for one in self._sets], "seed": self.seed,
            **{f"global_{name}" if name in ("batch_size", "token_budget") else name: value for name, value in batching.items()},
            "image": self.images.transform.rules(), "augment": repr(self.images.augment), "tiles": self.images.tiles,
            "text": rules, "choice": repr(work.choice), "collate": repr(work.collate),
        }  # fmt: skip


@dataclass
class _Jobs:
    """The sampler of the DataLoader, whose workers live on from epoch to epoch while the jobs change."""

    jobs: list[Job] = field(default_factory=list)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)


def open_index(path: str | Path | Sequence[str], cache: Cache, reading: ReadOptions) -> Index:
    """The index of an output of Pairloom, or of anything else that pairs can be read from. Raises `UsageError` if it can't be."""
    names = [str(path)] if isinstance(path, str | Path) else list(path)
    if len(names) == 1 and exists(f"{names[0].rstrip('/')}/{PLAN}"):
        return output_index(names[0].rstrip("/"), cache)
    return plain_index(names, reading)


def _recipe_of(index: Index) -> Recipe | None:
    return Recipe.from_literal(index.recipe) if index.recipe else None


def _counted_by(reader: TextReader, index: Index) -> Index:
    """The index without its tokens if another tokenizer counted them."""
    try:
        recipe = _recipe_of(index)
        known = recipe is None or _tokens_of(reader_of(recipe)) == _tokens_of(reader)
    except UsageError:  # a tokenizer that isn't on this machine
        known = False
    return index if known else replace(index, tokens=np.full_like(index.tokens, -1))


def _tokens_of(reader: TextReader) -> tuple[str, bool]:
    return reader.tokenizer.to_str(), reader.strips_punctuation


def _alive(loader: Any) -> bool:
    """Whether no worker has died since; torch tells that to whatever code is running then, and later waits for the dead one."""
    return all(worker.is_alive() for worker in getattr(loader._iterator, "_workers", ()))


def _as_it_is(made: Any) -> Any:
    return made


def _alone(worker: int) -> None:
    """A worker has one core; tokenizers would start a thread for each."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
