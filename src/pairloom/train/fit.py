"""Fitting the attention head to frozen features: the one place of training that needs torch.

The loss runs over all pairs of a batch: InfoNCE (Radford et al. 2021) or sigmoid (Zhai et al. 2023), each image conditioned on
the text that it is scored against. The same picture or the same text is a positive, not a negative. A penalty keeps the cosines
among texts, and among images, as they were when training began, which is as the frozen encoder has them or, where its towers are
strangers, as the maps of `pairloom.train.start` do: STRUCTURE (Gröger et al. 2025), with squared differences instead, so that a
few thousand pairs may be enough. For the same reason no batch sees all: of each text some of its segments, drawn anew
every time, and of each embedding the numbers that dropout (Srivastava et al. 2014) leaves. What is validated, and given in the
end, is a mean of the weights over the last steps (Shamir and Zhang 2013), which needs no plan of how the learning rate falls.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from pairloom.alignment.attention import Pooling
from pairloom.alignment.bank import Bank, BankVectors
from pairloom.alignment.metrics import ranks, recall_at
from pairloom.alignment.trained import AttentionHead
from pairloom.choices import Fitting
from pairloom.errors import UsageError
from pairloom.extras import need
from pairloom.train.batches import dropped, joined, mapped, padded, part, shuffled, split
from pairloom.train.features import Pairs
from pairloom.train.losses import infonce, moved, sigmoid
from pairloom.train.scores import scores
from pairloom.train.start import by_chance, starts
from pairloom.writers.parts import write_whole

Ints = npt.NDArray[np.int64]

_FORM = 3  # of what a checkpoint holds
_MAPS = ("text", "image")
_GENTLY = 0.3  # of the rate, where training begins with maps: what is whitened is soon known by heart
_BLOCK = 32  # texts scored at a time there
_ROWS = 256  # vectors whose cosines are kept as they are, a batch
_RECENT = 8  # Shamir and Zhang's eta: the mean lags about a tenth of all steps behind


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch came to: the mean loss (None before any training) and, on validation, the mean reciprocal rank and R@1 of
    both directions; `best` says whether no earlier one was as good."""

    number: int
    loss: float | None
    reciprocal_rank: float
    recall: float
    best: bool


def fit_attention_head(
    pairs: Pairs,
    bank: BankVectors,
    pooling: Pooling,
    fitting: Fitting = Fitting(),
    checkpoint: Path | None = None,
    show: Callable[[Epoch], None] = lambda epoch: None,
) -> tuple[AttentionHead, list[Epoch]]:
    """Fit a head on `pairs` with a bank, beginning at `AttentionHead.untrained`, or at canonical directions where by
    that texts find their images no better than by chance; gives the best one and all epochs.

    The epoch before any training is a candidate, too: a head that would be worse than it on validation is never given.
    `checkpoint` is written after every epoch; if it is there, training goes on from it to the same weights. One seed gives one
    head.

    Raises:
        UsageError: if torch is missing, there are too few different pairs, the checkpoint is no such file, or the loss diverges.
    """
    torch = need("torch", "torch", "training a head")
    train, held = split(pairs.groups, fitting)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would give other weights on another machine
    try:
        run = _Run(torch, pairs, bank, pooling, fitting, train, held)
        if checkpoint and checkpoint.exists():
            run.restore(checkpoint)
        while len(run.epochs) <= fitting.epochs and not run.stale:
            run.epoch(train)
            if checkpoint:
                run.keep(checkpoint)
            show(run.epochs[-1])
        return run.head, run.epochs
    finally:
        torch.set_num_threads(threads)


class _Run:
    """Parameters, their mean over the last steps, the best of these so far, and the optimizer: all that a checkpoint holds."""

    def __init__(
        self, torch: Any, pairs: Pairs, bank: BankVectors, pooling: Pooling, fitting: Fitting, train: Ints, held: Ints
    ) -> None:
        self._torch, self._pairs, self._fitting, self._held = torch, pairs, fitting, held
        known = BankVectors(*(np.array(part, np.float32) for part in bank))
        self._bank, self._prose = torch.from_numpy(known.images), Bank.of(known)
        self._begun = _digest(pairs, known, pooling, fitting)
        self.epochs: list[Epoch] = []
        self._steps = 0
        plain = AttentionHead.untrained(known, pooling)
        self._mean = self._start_of(plain, starts(torch, pairs, train, known.images, plain))
        self._best = self._copied()
        # maps are learnt as what differs from where they began, so that decay pulls there
        self._start = {name: value.clone() for name, value in self._mean.items() if name in _MAPS}
        self._values = {
            name: (torch.zeros_like(value) if name in _MAPS else value.clone()).requires_grad_()
            for name, value in self._mean.items()
        }
        maps = [self._values[name] for name in _MAPS]
        rest = [value for name, value in self._values.items() if name not in _MAPS]
        groups = [{"params": maps, "weight_decay": fitting.decay}, {"params": rest, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=fitting.rate * (_GENTLY if self._start["text"].any() else 1))

    def _all(self, head: AttentionHead) -> dict[str, Any]:
        """The numbers of a head as tensors, and those of the loss alone."""
        values: dict[str, Any] = {name: getattr(head, name) for name in (*_MAPS, "null", "segment")}
        p = head.pooling
        # the temperature as a logarithm, so that it stays positive
        values |= {"gamma": p.gamma, "tau_view": math.log(p.tau_view)}
        values |= {"scale": math.log(20.0), "bias": -5.0}
        return {name: self._torch.tensor(value, dtype=self._torch.float32) for name, value in values.items()}

    @property
    def stale(self) -> bool:
        """Whether the last epochs brought nothing."""
        best = max((epoch.number for epoch in self.epochs if epoch.best), default=0)
        return len(self.epochs) - 1 - best >= self._fitting.patience

    @property
    def head(self) -> AttentionHead:
        """The best head so far."""
        return _head({name: value.numpy() for name, value in self._best.items()})

    def epoch(self, train: Ints) -> None:
        """Train once over those texts, but not the first time; then validate."""
        torch, number = self._torch, len(self.epochs)
        losses = []
        chance = np.random.default_rng((self._fitting.seed, number))  # a resumed run draws the same
        for rows in shuffled(train, self._fitting.batch, chance) if number else ():
            loss = self._loss(rows, chance)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self._steps += 1
            with torch.no_grad():
                for name, value in self._now().items():
                    self._mean[name].lerp_(value, (_RECENT + 1) / (self._steps + _RECENT))
            losses.append(float(loss.detach()))
        scores, right = self._validated(self._mean)
        if not (np.isfinite(losses).all() and np.isfinite(scores).all()):
            raise UsageError(f"the loss is no number any more in epoch {number}; try a lower --rate")
        reciprocal, recall = _found(scores, right)
        best = reciprocal > max((epoch.reciprocal_rank for epoch in self.epochs), default=-1.0)
        self.epochs.append(Epoch(number, float(np.mean(losses)) if losses else None, reciprocal, recall, best))
        if best:
            self._best = self._copied()

    def keep(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        save = need("safetensors.torch", "torch", "training a head").save
        state = self._optimizer.state_dict()["state"]
        tensors = {f"now.{name}": value.detach() for name, value in self._values.items()}
        tensors |= {f"start.{name}": value for name, value in self._start.items()}
        tensors |= {f"mean.{name}": value for name, value in self._mean.items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        tensors |= {f"adam.{place}.{name}": value for place, one in state.items() for name, value in one.items()}
        said = {"begun": self._begun, "steps": self._steps, "epochs": [asdict(epoch) for epoch in self.epochs]}
        write_whole(path, save(tensors, {"pairloom": json.dumps(said, sort_keys=True)}))

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint."""
        try:
            with safe_open(str(path), "pt") as file:
                said = json.loads(file.metadata()["pairloom"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            if said["begun"] != self._begun:
                raise ValueError("it is of other pairs or settings")
            state: dict[int, dict[str, Any]] = {}
            for name, value in tensors.items():
                part, _, rest = name.partition(".")
                if part == "adam":
                    place, _, rest = rest.partition(".")
                    state.setdefault(int(place), {})[rest] = value
            with self._torch.no_grad():
                for name, value in self._values.items():
                    value.copy_(tensors[f"now.{name}"])
            self._mean, self._best = ({name: tensors[f"{part}.{name}"] for name in self._values} for part in ("mean", "best"))
            self._start = {name: tensors[f"start.{name}"] for name in _MAPS}
            self._steps = int(said["steps"])
            self._optimizer.load_state_dict({"state": state, "param_groups": self._optimizer.state_dict()["param_groups"]})
            self.epochs = [Epoch(**epoch) for epoch in said["epochs"]]
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as fault:
            raise UsageError(f"the checkpoint {path} can't be gone on from: {fault}; begin anew with --restart") from None

    def _loss(self, rows: Ints, chance: np.random.Generator) -> Any:
        """Of a batch of texts, each with its image, as far as chance lets see of them."""
        torch, fit = self._torch, self._fitting
        texts, there = joined(torch, [part(self._pairs.texts[row], chance) for row in rows])
        views, seen = padded(torch, [self._pairs.views[self._pairs.image_of[row]] for row in rows])
        unlike = self._unlike(texts)
        texts, views = (dropped(torch, vectors, fit.dropout, chance) for vectors in (texts, views))
        now = self._now()
        new_texts, new_views = mapped(texts, now["text"]), mapped(views, now["image"])
        scores = self._scores(new_texts, unlike, there, new_views, seen, now)
        groups = torch.from_numpy(self._pairs.groups[rows])
        positive = (groups[:, None] == groups[None, :]).float()
        logits = scores * now["scale"].exp()
        loss = infonce(logits, positive) if fit.loss == "infonce" else sigmoid(torch, logits + now["bias"], positive)
        for new, old, name in ((new_texts, texts, "text"), (new_views[seen], views[seen], "image")):
            some = slice(None, None, max(1, len(old) // _ROWS))
            loss = loss + fit.structure * moved(new[some], mapped(old[some], self._start[name]))
        return loss

    def _now(self) -> dict[str, Any]:
        """The numbers of the head as it is now."""
        return {name: value + self._start[name] if name in _MAPS else value for name, value in self._values.items()}

    def _scores(self, texts: Any, unlike: Any, there: Any, views: Any, seen: Any, p: Mapping[str, Any]) -> Any:
        return scores(self._torch, texts, unlike, there, views, seen, mapped(self._bank, p["image"]), p)

    def _unlike(self, texts: Any) -> Any:
        """What of the informativeness of texts (f, d) no map changes, (f,)."""
        direction = self._torch.from_numpy(self._prose.prose.astype(np.float32))
        return (self._prose.usual - texts @ direction).exp()

    def _start_of(self, plain: AttentionHead, others: Iterator[AttentionHead]) -> dict[str, Any]:
        """The numbers of `plain`, or of the best of the others if by it texts find their images no better than by chance."""
        chosen = self._all(plain)
        chance = by_chance(len(np.unique(self._pairs.image_of[self._held])))
        if self._worth(chosen) > chance:
            return chosen
        best = max(map(self._all, others), key=self._worth)
        return best if self._worth(best) > chance else chosen

    def _worth(self, p: Mapping[str, Any]) -> float:
        """The mean reciprocal rank of such a head on validation."""
        return _found(*self._validated(p))[0]

    def _validated(self, p: Mapping[str, Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """The scores of the texts to validate on with all of their images, and which of them are right."""
        images, column = np.unique(self._pairs.image_of[self._held], return_inverse=True)
        groups = self._pairs.groups[self._held]
        owner = np.empty(len(images), np.int64)
        owner[column] = groups
        with self._torch.no_grad():
            views, seen = padded(self._torch, [self._pairs.views[image] for image in images])
            views = mapped(views, p["image"])
            blocks = []
            for start in range(0, len(self._held), _BLOCK):
                texts, there = joined(self._torch, [self._pairs.texts[row] for row in self._held[start : start + _BLOCK]])
                blocks.append(self._scores(mapped(texts, p["text"]), self._unlike(texts), there, views, seen, p).numpy())
        return np.concatenate(blocks), groups[:, None] == owner[None, :]

    def _copied(self) -> dict[str, Any]:
        return {name: value.clone() for name, value in self._mean.items()}


def _head(values: Mapping[str, Any]) -> AttentionHead:
    pooling = Pooling(float(values["gamma"]), math.exp(values["tau_view"]))
    return AttentionHead(values["text"], values["image"], values["null"], values["segment"], pooling)


def _found(scores: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """The mean reciprocal rank and R@1 of both directions; the former moves where the latter would still stand still."""
    found = (ranks(scores, right), ranks(scores.T, right.T))
    return float(np.mean([(1 / one).mean() for one in found])), float(np.mean([recall_at(one, 1).mean() for one in found]))


def _digest(pairs: Pairs, bank: BankVectors, pooling: Pooling, fitting: Fitting) -> str:
    """Of what the weights after some epochs depend on: not on how many more are to come."""
    rest = {name: value for name, value in asdict(fitting).items() if name not in ("epochs", "patience")}
    said = hashlib.sha256(json.dumps([_FORM, rest, asdict(pooling)], sort_keys=True).encode())
    arrays: list[npt.NDArray[Any]] = [pairs.image_of, pairs.groups, *bank, *pairs.views, *pairs.texts]
    for array in arrays:
        said.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return said.hexdigest()
