"""The two heads on top of the frozen towers, and their training on cached features.

The image head has two readings of a picture. The *anchor* reading is the mean of what is said of the 1,000 classes, weighted by
the classifier's softened probabilities (Norouzi et al. 2013, ConSE), and a little of what colour words mean, weighted by how much
more of the colour there is than in most photographs: it is for photographs, of which there are hardly any open pairs. The
*residual* reading is a small network on the features that learns from the drawings. A gate, taught what a photograph looks like
by a few open ones and nothing else, decides how much of the second is added: learned from drawings alone, it would spoil
photographs (10-way matching of photographs fell from 53 to 43 %).

The text head starts as a gentle whitening by the anchors' covariance, for most of what sets the class names apart is whether they
name an animal, and stays near it: similarities between everyday captions are held. What is read from an image, a mean of many
classes, is whitened more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH, PHOTOS, RATE = 512, 128, 1e-3
HEAT, POWER, IMAGE_POWER, RIDGE, RANK = 3.0, -0.25, -0.4, 0.3, 384
COLOUR, FEW, MUCH = 0.06, -1.5, 3.0
NETWORK, LOST = 1280, 0.1


def whitening(anchors: Tensor, power: float = POWER) -> Tensor:
    """A power of the anchors' covariance (of mean eigenvalue 1, plus `RIDGE`): a symmetric matrix."""
    centred = anchors - anchors.mean(0)
    covariance = centred.T @ centred
    values, vectors = torch.linalg.eigh(covariance / covariance.trace() * len(covariance))
    return vectors @ torch.diag((values.clamp_min(0) + RIDGE) ** power) @ vectors.T


def narrowed(rows: Tensor) -> tuple[Tensor, Tensor]:
    """A classifier's rows (1000, f) as a product, (f, RANK) and (RANK, 1000): a third of the size, and as good once softened."""
    left, values, right = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    return right[:RANK].T.contiguous(), (left[:, :RANK] * values[:RANK]).T.contiguous()


class ImageHead(nn.Module):
    """The networks' features and the colours' shares (n, f + c) to the shared space.

    `drawn` and `photos` are such rows of drawings and of photographs, `words` is what the colours mean (c, d).
    """

    def __init__(self, anchors: Tensor, words: Tensor, classify: nn.Linear, drawn: Tensor, photos: Tensor,
                 hidden: int = 512) -> None:  # fmt: skip
        super().__init__()
        self.size = size = drawn.shape[1] - len(words)
        self.register_buffer("mean", drawn[:, :size].mean(0))
        self.register_buffer("scale", 1 / drawn[:, :size].std(0).clamp_min(1e-3))
        whiten = whitening(anchors, IMAGE_POWER)
        self.register_buffer("anchors", (anchors - anchors.mean(0)) @ whiten)
        self.register_buffer("words", functional.normalize(words @ whiten, dim=-1) * COLOUR)
        self.register_buffer("usual", photos[:, size:].mean(0))
        self.register_buffer("unusual", 1 / photos[:, size:].std(0))
        narrow, classes = narrowed(classify.weight.detach())
        self.register_buffer("narrow", narrow)
        self.register_buffer("classes", classes)
        self.register_buffer("bias", classify.bias.detach().clone())
        self.share = nn.Parameter(torch.tensor(0.5))
        self.norm = nn.LayerNorm(size)
        self.up, self.down = nn.Linear(size, hidden), nn.Linear(hidden, anchors.shape[1])
        self.straight = nn.Linear(size, anchors.shape[1])
        self.gate = nn.Linear(size, 1)
        self.drop = nn.Dropout(0.3)
        nn.init.normal_(self.down.weight, std=0.01)
        nn.init.normal_(self.straight.weight, std=0.002)
        nn.init.zeros_(self.gate.weight)

    def prepared(self, features: Tensor) -> Tensor:
        """The networks' features, standardised."""
        found: Tensor = (features[..., : self.size] - self.mean) * self.scale
        return found.clamp(-8, 8)

    def drawn(self, features: Tensor) -> Tensor:
        """Log odds that a picture is drawn, not photographed (n, 1)."""
        found: Tensor = self.gate(self.prepared(features) * 0.3)
        return found

    def forward(self, features: Tensor) -> Tensor:
        """(n, f + c) to (n, d), normalised."""
        chances = torch.softmax((features[..., : self.size] @ self.narrow @ self.classes + self.bias) / HEAT, -1)
        colours = ((features[..., self.size :] - self.usual) * self.unusual).clamp(FEW, MUCH)
        seen = (colours[..., None] * self.words).sum(-2)  # no matrix product, which would be packed into 4 bits
        anchor = functional.normalize(functional.normalize(chances @ self.anchors, dim=-1) + seen, dim=-1)
        z = self.norm(self.prepared(features))
        residual = self.down(self.drop(functional.gelu(self.up(self.drop(z))))) + self.straight(self.drop(z))
        gate = torch.sigmoid(self.drawn(features))
        mixed = (1 - gate + gate * self.share) * anchor + gate * functional.normalize(residual, dim=-1)
        return functional.normalize(mixed, dim=-1)


class TextHead(nn.Module):
    """A linear map and a residual network on the text tower's vector."""

    def __init__(self, mean: Tensor, start: Tensor, hidden: int = 512) -> None:
        super().__init__()
        size = mean.shape[0]
        self.register_buffer("mean", mean)
        self.up, self.down = nn.Linear(size, hidden), nn.Linear(hidden, size)
        self.straight = nn.Linear(size, size, bias=False)
        self.drop = nn.Dropout(0.2)
        nn.init.normal_(self.down.weight, std=0.002)
        self.straight.weight.data.copy_(start)

    def forward(self, vectors: Tensor) -> Tensor:
        """Normalised text vectors (m, d) to the shared space, normalised."""
        z = vectors - self.mean
        return functional.normalize(self.straight(z) + self.down(self.drop(functional.gelu(self.up(z * 8)))), dim=-1)


@dataclass
class Bank:
    """Texts of a set of pictures, embedded: `rows[i]` are the numbers of picture i's texts in `vectors`."""

    vectors: Tensor
    rows: list[list[int]]


class Sampler:
    """Draws batches of pictures, each under a random view with one of its texts."""

    def __init__(self, views: list[Tensor], groups: list[int], texts: Bank, seed: int) -> None:
        self.views, self.groups, self.texts = torch.stack(views), torch.tensor(groups), texts
        self.draw = np.random.default_rng(seed)

    def pictures(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features, text vectors and group numbers."""
        places = self.draw.choice(len(self.groups), count, replace=False)
        kinds = self.draw.integers(len(self.views), size=count)
        chosen = [int(self.draw.choice(self.texts.rows[place])) for place in places]
        return self.views[kinds, places].float(), self.texts.vectors[chosen], self.groups[places]


def contrast(images: Tensor, texts: Tensor, groups: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE in both directions; pairs of one group are all right answers."""
    logits = images @ texts.T * scale
    same = (groups[:, None] == groups[None]).float()
    wanted = same / same.sum(1, keepdim=True)
    return -(wanted * logits.log_softmax(1)).sum(1).mean() / 2 - (wanted * logits.T.log_softmax(1)).sum(1).mean() / 2


def without_some(features: Tensor, mean: Tensor) -> Tensor:
    """Rows (n, f + c) in which a network, now and then, has seen nothing: the head shall not lean on one of them."""
    features = features.clone()
    for first in range(0, len(mean), NETWORK):
        lost = torch.rand(len(features)) < LOST
        features[lost, first : first + NETWORK] = mean[first : first + NETWORK]
    return features


def fit(image: ImageHead, text: TextHead, sampler: Sampler, photos: Tensor, everyday: Tensor, steps: int, seed: int = 0,
        keep: float = 400.0) -> None:  # fmt: skip
    """Train both heads; `photos` are features that teach the gate, `everyday` vectors of captions whose similarities are held."""
    torch.manual_seed(seed)
    scale = nn.Parameter(torch.tensor(math.log(14.0)))
    optimiser = torch.optim.AdamW([*image.parameters(), *text.parameters(), scale], RATE, weight_decay=0.05)
    chance = torch.Generator().manual_seed(seed)
    start = text.straight.weight.detach().clone()
    image.train()
    text.train()
    for step in range(steps):
        for part in optimiser.param_groups:
            part["lr"] = RATE * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        features, vectors, groups = sampler.pictures(BATCH)
        loss = contrast(image(without_some(features, image.mean)), text(vectors), groups, scale.exp().clamp(max=60))
        some = everyday[torch.randint(len(everyday), (256,), generator=chance)]
        before = functional.normalize((some - text.mean) @ start.T, dim=-1)
        loss = loss + keep * ((text(some) @ text(some).T - before @ before.T) ** 2).mean()
        seen = photos[torch.randint(len(photos), (PHOTOS,), generator=chance)].float()
        gate = functional.softplus(image.drawn(seen)).mean() + functional.softplus(-image.drawn(features)).mean()
        optimiser.zero_grad()
        (loss + gate).backward()
        optimiser.step()
        if step % 100 == 99:
            print(f"heads, step {step + 1}: loss {float(loss.detach()):.3f}, gate {float(gate.detach()):.3f}", flush=True)
    image.eval()
    text.eval()
