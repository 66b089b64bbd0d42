"""What a training head is to make small."""

from __future__ import annotations

from typing import Any


def moved(new: Any, old: Any) -> Any:
    """How far the cosines among the vectors are from what they were, squared."""
    return (new @ new.T - old @ old.T).square().mean()


def infonce(logits: Any, positive: Any) -> Any:
    """The mean over both directions of the cross entropy with all positives as equally right."""
    both = ((logits, positive), (logits.T, positive.T))
    return sum(-(one.log_softmax(1) * right / right.sum(1, keepdim=True)).sum(1).mean() for one, right in both) / 2


def sigmoid(torch: Any, logits: Any, positive: Any) -> Any:
    """The mean over texts of how far each pair is from a clear yes or no."""
    return -torch.nn.functional.logsigmoid(logits * (2 * positive - 1)).sum(1).mean()
