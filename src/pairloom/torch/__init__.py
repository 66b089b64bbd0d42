"""From prepared pairs to batches of tensors: dynamic padding on both sides, aspect and length buckets, exact resume."""

from pairloom.extras import need

need("torch", "torch", "pairloom.torch")

from pairloom.torch.augment import Augment  # noqa: E402
from pairloom.torch.choose import aspect_buckets, reader_of, transform_of  # noqa: E402
from pairloom.torch.collate import Collate  # noqa: E402
from pairloom.torch.loader import PairLoader  # noqa: E402
from pairloom.torch.machine import Machine  # noqa: E402
from pairloom.torch.plan import Batching  # noqa: E402
from pairloom.torch.texts import Choice, text_reader  # noqa: E402
from pairloom.torch.transforms import PairImageProcessor, image_transform, open_clip_batch, tokenizer  # noqa: E402

__all__ = [
    "Augment",
    "Batching",
    "Choice",
    "Collate",
    "Machine",
    "PairImageProcessor",
    "PairLoader",
    "aspect_buckets",
    "image_transform",
    "open_clip_batch",
    "reader_of",
    "text_reader",
    "tokenizer",
    "transform_of",
]
