"""The arithmetic of the trained head in torch, for many texts and images at once, with gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pairloom.alignment.attention import POWER, SOFTNESS
from pairloom.alignment.bank import EVENING, LEAST, directions
from pairloom.train.batches import by_text

_FAR = -30.0  # so far below 0 softplus is the exponential


def scores(torch: Any, texts: Any, unlike: Any, there: Any, views: Any, seen: Any, bank: Any, p: Mapping[str, Any]) -> Any:
    """As `AttentionHead.align_each` of a head with those values: the segments of n texts one after the other (f, d), how
    unlike prose they are (f,), the mask (n, s) of which text has how many, each with each image, views (m, v, d) with the
    mask of what is no padding; with a bank (b, d). Segments, views and bank are mapped. Gives (n, m)."""
    middle, evened = _images(torch, bank)
    mean, deviation = texts @ middle, (texts @ evened.T).square().sum(-1).clamp_min(LEAST**2).sqrt()
    spread = (deviation * unlike).clamp_min(LEAST)
    unit = by_text(spread, there, 0.0).amax(1)
    most = unit[there.nonzero()[:, 0]]
    prior = by_text(p["gamma"] * (spread / most).log() + texts @ p["segment"], there, -math.inf).log_softmax(1)
    s = torch.einsum("fd,ivd->fiv", texts, views)
    width = p["tau_view"].exp()
    logits = (s / width - seen.sum(1).log()[:, None]).masked_fill(~seen, -math.inf)
    null = (texts @ p["null"] / width)[:, None, None].expand(*s.shape[:2], 1)
    share = torch.cat([logits, null], -1).softmax(-1)[..., :-1]
    fit = (share * (s - mean[:, None, None])).sum(-1)
    counts = _log_softplus(torch, fit / (SOFTNESS * most[:, None])) * POWER
    level = (by_text(counts, there, 0.0) + prior[..., None]).logsumexp(1) / POWER
    return SOFTNESS * unit[:, None] * _inverse_log_softplus(torch, level)


def _images(torch: Any, images: Any) -> tuple[Any, Any]:
    """The mean of mapped images (b, d) and what is evened of the rest, as in `Bank.of`."""
    middle = images.mean(0)
    away = images - middle
    gram = away @ away.T
    total = gram.trace().clamp_min(len(away) * LEAST**2)
    shrunk = gram + torch.eye(len(away)) * EVENING * total / directions(*away.shape)
    evened = torch.linalg.solve_triangular(torch.linalg.cholesky(shrunk), away, upper=False)
    return middle, evened * (total / len(away) / evened.square().sum().clamp_min(LEAST**2)).sqrt()


def _log_softplus(torch: Any, u: Any) -> Any:
    """As in `pairloom.alignment.attention`; what is not chosen is kept finite, or its gradient would spoil the other's."""
    return torch.where(u < _FAR, u, torch.nn.functional.softplus(u.clamp_min(_FAR)).log())


def _inverse_log_softplus(torch: Any, logs: Any) -> Any:
    y = logs.clamp_min(_FAR).exp()
    return torch.where(logs < _FAR, logs, y + (-torch.expm1(-y)).log())
