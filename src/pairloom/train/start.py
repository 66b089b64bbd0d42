"""Where training may begin, other than at no map at all: the directions in which texts and images of the pairs go together.

Canonical correlation analysis (Hotelling 1936), regularised (Vinod 1976), finds maps of both sides under which the pairs agree
most. Two encoders that were never fitted to each other have no cosine to begin with; these maps give them one, in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pairloom.alignment.trained import AttentionHead
from pairloom.train.features import Ints, Pairs

STRENGTHS = (0.3, 1.0, 3.0)
"""Penalties of the covariances, in units of their mean eigenvalue: the fewer pairs, the firmer."""


def starts(torch: Any, pairs: Pairs, rows: Ints, bank: npt.NDArray[np.float32], plain: AttentionHead) -> Iterator[AttentionHead]:
    """A head for each strength, with maps fitted to the texts `rows`, the null token at the mean of the mapped bank (b, d), and
    the rest of `plain`."""
    for text, image in _maps(torch, *_moments(torch, pairs, rows)):
        null = torch.nn.functional.normalize(torch.from_numpy(bank) + torch.from_numpy(bank) @ image, dim=1).mean(0)
        yield AttentionHead(text.numpy(), image.numpy(), null.numpy(), plain.segment, plain.pooling)


def by_chance(images: int) -> float:
    """The mean reciprocal rank that hardly any scoring without sense reaches with so many images."""
    # its mean is the harmonic number / n, its deviation over n texts at most 1.3 / n, of which there are three
    return float(((1 / np.arange(1, images + 1)).sum() + 4) / images)


def _moments(torch: Any, pairs: Pairs, rows: Ints) -> tuple[Any, Any, Any, Any, Any]:
    """Means (d,) and covariances (d, d) of segments and of views, and their cross-covariance; each text counts the same."""
    sides = [pairs.texts[row] for row in rows], [pairs.views[pairs.image_of[row]] for row in rows]
    means, covariances = [], []
    for side in sides:
        share = torch.from_numpy(np.repeat([1 / len(part) for part in side], [len(part) for part in side]))[:, None]
        all_vectors = torch.from_numpy(np.concatenate(side)).double()
        means.append(torch.from_numpy(np.stack([part.mean(0) for part in side])).double())
        middle = means[-1].mean(0)
        covariances.append((all_vectors * share).T @ all_vectors / len(rows) - middle[:, None] * middle)
    centred = [part - part.mean(0) for part in means]
    return means[0].mean(0), means[1].mean(0), covariances[0], covariances[1], centred[0].T @ centred[1] / len(rows)


def _maps(torch: Any, text_mean: Any, image_mean: Any, text: Any, image: Any, cross: Any) -> Iterator[tuple[Any, Any]]:
    """For each strength the maps A of texts and B of images, float32 (d, d), with x + x A in the common space."""
    (text_values, text_vectors), (image_values, image_vectors) = (torch.linalg.eigh(one) for one in (text, image))
    for strength in STRENGTHS:
        roots = [
            (vectors / (values.clamp_min(0) + strength * values.mean()).sqrt()) @ vectors.T
            for values, vectors in ((text_values, text_vectors), (image_values, image_vectors))
        ]
        left, correlations, right = torch.linalg.svd(roots[0] @ cross @ roots[1])
        weights = correlations.sqrt()
        both = (roots[0] @ left * weights, text_mean), (roots[1] @ right.T * weights, image_mean)
        yield tuple(_residual(torch, weight, mean) for weight, mean in both)


def _residual(torch: Any, weight: Any, mean: Any) -> Any:
    """What to add to the identity for that map, blind to the direction of the mean and of the identity's size."""
    direction = mean / mean.norm().clamp_min(1e-12)
    seeing = weight - direction[:, None] * (direction @ weight)
    scaled = seeing * (len(seeing) ** 0.5 / seeing.norm().clamp_min(1e-12))
    return (scaled - torch.eye(len(seeing), dtype=scaled.dtype)).float()
