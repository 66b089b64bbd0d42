"""The two heads on top of the frozen towers, and their training on cached features.

The image head adds two readings of a picture. The *anchor* reading is the mean of what the 1,000 class names mean, weighted by
the classifier's probabilities (Norouzi et al. 2013, ConSE): it carries photographs, of which there are no pairs here. The
*residual* reading is a small network on the features that learns from the drawings.

Photographs are not left to chance in the second either. Under a shared covariance S a linear classifier's row is
S^-1 (m_c - m), so m + S w_c estimates the mean feature of class c: 1,000 pseudo-photographs with names, glosses and scenes, to
which the noise of real features is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from towers import Array

INNER, OUTER, CLASSES = 352, 1280, 1000
STEPS, BATCH, ANCHORS, RATE, STRETCH = 1500, 512, 256, 1e-3, 10


class ImageHead(nn.Module):
    """Features and logits side by side to the shared space."""

    def __init__(self, anchors: Tensor, mean: Tensor, spread: Tensor, hidden: int = 768, heat: float = 2.0) -> None:
        super().__init__()
        size = INNER + OUTER
        self.register_buffer("mean", mean)
        self.register_buffer("scale", 1 / spread.clamp_min(1e-3))
        self.heat = heat
        self.anchors = nn.Parameter(anchors.clone())
        self.share = nn.Parameter(torch.tensor(1.0))
        self.norm = nn.LayerNorm(size)
        self.up, self.down = nn.Linear(size, hidden), nn.Linear(hidden, anchors.shape[1])
        self.straight = nn.Linear(size, anchors.shape[1])
        self.drop = nn.Dropout(0.3)
        nn.init.normal_(self.down.weight, std=0.01)
        nn.init.normal_(self.straight.weight, std=0.002)

    def forward(self, features: Tensor) -> Tensor:
        """(n, 352 + 1280 + 1000) to (n, d), normalised."""
        plain, logits = features[:, : INNER + OUTER], features[:, INNER + OUTER :]
        anchor = functional.normalize(torch.softmax(logits / self.heat, -1) @ self.anchors, dim=-1)
        z = self.norm((plain - self.mean) * self.scale)
        residual = self.down(self.drop(functional.gelu(self.up(self.drop(z))))) + self.straight(self.drop(z))
        return functional.normalize(self.share * anchor + residual, dim=-1)


class TextHead(nn.Module):
    """A residual network on the text tower's vector."""

    def __init__(self, mean: Tensor, hidden: int = 512) -> None:
        super().__init__()
        size = mean.shape[0]
        self.register_buffer("mean", mean)
        self.up, self.down = nn.Linear(size, hidden), nn.Linear(hidden, size)
        self.straight = nn.Linear(size, size, bias=False)
        self.drop = nn.Dropout(0.2)
        nn.init.normal_(self.down.weight, std=0.01)
        nn.init.eye_(self.straight.weight)

    def forward(self, vectors: Tensor) -> Tensor:
        """Normalised text vectors (m, d) to the shared space, normalised."""
        z = vectors - self.mean
        return functional.normalize(self.straight(z) + self.down(self.drop(functional.gelu(self.up(z * 8)))), dim=-1)


@dataclass
class Pseudo:
    """Pseudo-photographs: class means of features, and what is needed to spread around them."""

    means: Tensor
    weight: Tensor
    bias: Tensor


def pseudo_photographs(features: Array, weight: Array, bias: Array) -> Pseudo:
    """Estimate the classes' mean features from the classifier's rows and the covariance of real features."""
    plain = features[:, : INNER + OUTER].astype(np.float32)
    mean = plain.mean(0)
    centred = plain - mean
    across = centred.T @ centred[:, INNER:] / len(plain)
    rows = weight - weight.mean(0)
    # The estimate's length depends on the covariance of drawings; `STRETCH` makes the classifier about as sure as of photographs.
    means = mean + STRETCH * rows @ across.T
    return Pseudo(torch.from_numpy(means).float(), torch.from_numpy(weight), torch.from_numpy(bias))


@dataclass
class Bank:
    """Texts of a set of pictures, embedded: `rows[i]` are the numbers of picture i's texts in `vectors`."""

    vectors: Tensor
    rows: list[list[int]]


class Sampler:
    """Draws batches: real pictures under a random view with a random text each, and pseudo-photographs with theirs."""

    def __init__(self, views: list[Tensor], groups: list[int], texts: Bank, pseudo: Pseudo, class_texts: Bank, seed: int) -> None:
        self.views, self.groups, self.texts, self.pseudo, self.class_texts = (
            views,
            torch.tensor(groups),
            texts,
            pseudo,
            class_texts,
        )
        self.draw = np.random.default_rng(seed)
        self.centre = views[0][:, : INNER + OUTER].mean(0)

    def pictures(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features, text vectors and group numbers."""
        places = self.draw.choice(len(self.groups), count, replace=False)
        kind = self.draw.integers(len(self.views), size=count)
        features = torch.stack([self.views[k][p] for k, p in zip(kind.tolist(), places.tolist(), strict=True)])
        chosen = [int(self.draw.choice(self.texts.rows[place])) for place in places]
        return features.float(), self.texts.vectors[chosen], self.groups[places]

    def photographs(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pseudo-photographs: a class mean, sometimes mixed with a second one, and a real picture's deviation as noise."""
        first = self.draw.integers(CLASSES, size=count)
        noise = self.views[0][self.draw.integers(len(self.groups), size=count), : INNER + OUTER].float() - self.centre
        plain = self.pseudo.means[first] + torch.from_numpy(self.draw.uniform(0.2, 0.8, (count, 1))).float() * noise
        plain = plain.clone()
        plain[:, INNER:].clamp_(0, 6)
        logits = plain[:, INNER:] @ self.pseudo.weight.T + self.pseudo.bias
        chosen = [int(self.draw.choice(self.class_texts.rows[number])) for number in first]
        return torch.cat([plain, logits], 1), self.class_texts.vectors[chosen], torch.from_numpy(-1 - first)


def contrast(images: Tensor, texts: Tensor, groups: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE in both directions; pairs of one group are all right answers."""
    logits = images @ texts.T * scale
    same = (groups[:, None] == groups[None]).float()
    wanted = same / same.sum(1, keepdim=True)
    return -(wanted * logits.log_softmax(1)).sum(1).mean() / 2 - (wanted * logits.T.log_softmax(1)).sum(1).mean() / 2


def fit(image: ImageHead, text: TextHead, sampler: Sampler, everyday: Tensor, steps: int = STEPS, seed: int = 0,
        keep: float = 1.0, photo: float = 1.0) -> None:  # fmt: skip
    """Train both heads. `everyday` are vectors of ordinary captions, whose similarities to each other must survive."""
    torch.manual_seed(seed)
    scale = nn.Parameter(torch.tensor(math.log(14.0)))
    weights = [value for part in (image, text) for value in part.parameters()] + [scale]
    optimiser = torch.optim.AdamW(weights, RATE, weight_decay=0.05)
    chance = torch.Generator().manual_seed(seed)
    for part in (image, text):
        part.train()
    for step in range(steps):
        for part in optimiser.param_groups:
            part["lr"] = RATE * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        pictures, photos = sampler.pictures(BATCH), sampler.photographs(ANCHORS)
        heat = scale.exp().clamp(max=60)
        loss = contrast(image(pictures[0]), text(pictures[1]), pictures[2], heat)
        loss = loss + photo * contrast(image(photos[0]), text(photos[1]), photos[2], heat)
        some = everyday[torch.randint(len(everyday), (256,), generator=chance)]
        centred = functional.normalize(some - text.mean, dim=-1)
        loss = loss + keep * 10 * ((text(some) @ text(some).T - centred @ centred.T) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 250 == 249:
            print(f"heads, step {step + 1}: loss {float(loss.detach()):.3f}, scale {float(heat.detach()):.1f}", flush=True)
    for part in (image, text):
        part.eval()
