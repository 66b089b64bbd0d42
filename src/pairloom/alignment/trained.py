"""The trained attention head: attention with learnt maps, null token and segment weights, in NumPy. `pairloom.train` fits it.

Segments are mapped to t(j) = unit(x + x A), views and images of the bank to unit(y + y B), where `unit` divides by the length. Of
the mapped vectors, s(j,v), m(j) and the deviation in i(j) are as in `pairloom.alignment.attention`; how like prose a segment
is, is asked of x. Then

    a(j,·)    = softmax over the views and one null token of s(j,v) / tau_view - log(number of views), t(j) . null / tau_view
    x(j)      = sum over v of a(j,v) * (s(j,v) - m(j))                 what attends to the null token counts for nothing
    log a(j)  = gamma * log(i(j) / D) + t(j) . segment + constant, D = max i, so that all a sum to 1

and from x, a and D weights and alignment come as they do there. The image is thus conditioned on the text that it is scored
against. With A = B = 0, the null token at the mean of the bank and `segment` = 0, this is training-free attention but for the
null token. Training begins there, or at maps in closed form where the model's encoders are strangers to each other.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pairloom.alignment.attention import Alignment, Pooling, attend
from pairloom.alignment.bank import LEAST, Bank, BankVectors
from pairloom.errors import UsageError

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[np.float32]

FILE = "head.safetensors"
"""The name of the head in the folder that training writes."""

_FORM = "pairloom attention head 2"


@dataclass(frozen=True, slots=True, eq=False)
class AttentionHead:
    """Maps `text` and `image`, float32 (d, d), the vectors `null` and `segment`, float32 (d,), and the constants, as above.

    `model` and `identity` name the model whose embeddings it was fitted on (`Model.identity`).
    """

    text: Array
    image: Array
    null: Array
    segment: Array
    pooling: Pooling
    model: str = ""
    identity: str = ""

    @classmethod
    def untrained(cls, bank: BankVectors, pooling: Pooling) -> AttentionHead:
        """Where training begins if the encoders know each other: no map, the null token at the mean of the bank."""
        mean = np.asarray(bank.images, np.float32).mean(axis=0)
        zero = np.zeros((len(mean), len(mean)), np.float32)
        return cls(zero, zero, mean, np.zeros_like(mean), pooling)

    def texts(self, texts: npt.ArrayLike) -> Floats:
        """Map L2-normalised embeddings of segments (..., d) to float64 (..., d) of length 1."""
        return _mapped(texts, self.text)

    def images(self, images: npt.ArrayLike) -> Floats:
        """Map L2-normalised embeddings of views (..., d) to float64 (..., d) of length 1."""
        return _mapped(images, self.image)

    def bank(self, vectors: BankVectors) -> Bank:
        """A bank, its images mapped."""
        return Bank.of(BankVectors(self.images(vectors.images), vectors.prose))

    def align(self, texts: npt.ArrayLike, views: Floats, bank: Bank) -> Alignment:
        """Score one text of s segments (s, d), as the model embeds them, against one image of v views (v, d); these and the bank
        are mapped.

        Raises:
            ValueError: if there is no segment or no view, or if a number is not finite.
        """
        mapped = self.texts(texts)
        s = mapped @ views.T
        weights, scores = self._pooled(texts, mapped, s, bank)
        return Alignment(float(weights @ scores), scores, weights, weights @ s)

    def align_each(self, texts: npt.ArrayLike, views: Floats, bank: Bank) -> Floats:
        """The `alignment` of one text (s, d) with each of n images of v views (n, v, d), float64 (n,); else as `align`."""
        mapped = self.texts(texts)
        return self.align_cosines(texts, mapped, np.einsum("sd,nvd->snv", mapped, views), bank)

    def align_cosines(self, plain: npt.ArrayLike, texts: Floats, cosines: Floats, bank: Bank) -> Floats:
        """The same from segments as they are, `plain`, and mapped, and from the cosines of these with the views, (s, n, v)."""
        weights, scores = self._pooled(plain, texts, cosines, bank)
        return np.asarray((weights * scores).sum(axis=0))

    def _pooled(self, plain: npt.ArrayLike, texts: Floats, s: Floats, bank: Bank) -> tuple[Floats, Floats]:
        """Weights and scores of segments, which are the first axis of `s`; views are the last."""
        if not s.size or not np.isfinite(s).all():
            raise ValueError("embeddings must be finite, with at least one segment and one view")
        shape = (-1,) + (1,) * (s.ndim - 2)
        mean, informativeness = bank.statistics(texts, plain)
        spread = np.maximum(informativeness, LEAST)
        prior = self.pooling.gamma * np.log(spread / spread.max()) + texts @ self.segment
        logits = s / self.pooling.tau_view - np.log(s.shape[-1])
        null = (texts @ self.null / self.pooling.tau_view).reshape(shape)
        top = np.maximum(logits.max(axis=-1), null)
        each = np.exp(logits - top[..., None])
        share = each / (each.sum(axis=-1) + np.exp(null - top))[..., None]
        fit = (share * (s - mean.reshape(*shape, 1))).sum(axis=-1)
        return attend(fit, prior.reshape(shape), float(spread.max())), np.asarray(fit)

    def to_bytes(self) -> bytes:
        """The head as a safetensors file; the same head gives the same bytes."""
        p = self.pooling
        tensors = {"text": self.text, "image": self.image, "null": self.null, "segment": self.segment,
                   "constants": np.array([p.gamma, p.tau_view])}  # fmt: skip
        said = {"form": _FORM, "model": self.model, "identity": self.identity}
        # one entry, for safetensors writes several in no fixed order
        return save(tensors, {"pairloom": json.dumps(said, sort_keys=True)})


def head_file(name: str) -> Path:
    """The file of a head that is named by its folder or by itself."""
    path = Path(name).expanduser()
    return path / FILE if path.is_dir() else path


def head_digest(name: str) -> str:
    """SHA-256 of a head's file. Raises `UsageError` if it can't be read."""
    path = head_file(name)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as fault:
        raise UsageError(f"the head {path} can't be read: {fault.strerror}") from None


def load_head(name: str, identity: str, model: str) -> AttentionHead:
    """The head in a file, or in a folder that `pairloom train` wrote, for a `model` of that `Model.identity`.

    Raises:
        UsageError: if the file can't be read or is no head, or if it was trained on the embeddings of another model.
    """
    path = head_file(name)
    try:
        changed = path.stat()
    except OSError as fault:
        raise UsageError(f"the head {path} can't be read: {fault.strerror}") from None
    head = _read(path, changed.st_mtime_ns, changed.st_size)
    if head.identity != identity:
        raise UsageError(
            f"the head {path} was trained on the model {head.model}, not on this {model}: train one with --model {model}"
        )
    return head


@functools.lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> AttentionHead:
    """`changed` and `size` are there because a head may be trained again under its name."""
    try:
        with safe_open(str(path), "numpy") as file:
            said = json.loads((file.metadata() or {}).get("pairloom", "{}"))
            tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - no mapping
        if said.get("form") != _FORM:
            raise ValueError("it is no attention head of this version")
        return _checked(tensors, str(said["model"]), str(said["identity"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise UsageError(f"the head {path} can't be used: {fault}; `pairloom train` writes heads") from None


def _checked(tensors: dict[str, npt.NDArray[np.generic]], model: str, identity: str) -> AttentionHead:
    width = len(tensors["null"])
    shapes = {"text": (width, width), "image": (width, width), "null": (width,), "segment": (width,), "constants": (2,)}
    if {name: array.shape for name, array in tensors.items()} != shapes:
        raise ValueError("its arrays don't fit together")
    parts = {name: array.astype(np.float32) for name, array in tensors.items() if name != "constants"}
    constants = [float(one) for one in tensors["constants"].astype(np.float64)]
    if not np.isfinite(np.concatenate([*map(np.ravel, parts.values()), constants])).all() or min(constants[1:]) <= 0:
        raise ValueError("its numbers make no sense")
    return AttentionHead(**parts, pooling=Pooling(*constants), model=model, identity=identity)


def _mapped(vectors: npt.ArrayLike, weights: Array) -> Floats:
    v = np.asarray(vectors, np.float64)
    mapped = v + v @ weights
    return np.asarray(mapped / np.linalg.norm(mapped, axis=-1, keepdims=True))
