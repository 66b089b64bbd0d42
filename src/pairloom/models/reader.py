"""How a checkpoint reads a text: what it makes of the characters, its tokens, its marks, its padding."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

Ids = npt.NDArray[np.int64]

_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Reader(Protocol):
    """How a model reads texts."""

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Without truncation and padding; None where the back end has one of another kind."""

    @property
    def context_length(self) -> int:
        """The most tokens read of a text, begin and end marks included."""

    def canonical(self, text: str) -> str:
        """The text as the model reads it."""

    def count(self, text: str) -> int:
        """The tokens of a whole text, uncut, with the marks."""

    def is_empty(self, text: str) -> bool:
        """Whether nothing of a text reaches the model: no token, or nothing but white space."""

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text with the marks, cut to `context_length` with the end mark kept."""

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Ids, Ids]:
        """Ids of n texts as a rectangle, int64 (n, length), and the mask that is 1 where a token stands."""

    def rules(self) -> str:
        """All that decides which tokens a text becomes, for a fingerprint."""


@dataclass(frozen=True)
class TextReader:
    """The text rules of one checkpoint with a `tokenizers` tokenizer.

    `tokenizer` neither cuts nor pads; its post-processor adds the begin and end marks. `context_length` counts them.
    `fixed` pads to the whole context instead of the longest text of a batch, `side` says at which end.
    With `strips_punctuation` a text is lower-cased and loses its ASCII punctuation first, as SigLIP wants it.
    """

    tokenizer: Tokenizer
    context_length: int
    pad_id: int = 0
    fixed: bool = False
    side: Literal["left", "right"] = "right"
    strips_punctuation: bool = False

    def canonical(self, text: str) -> str:
        """As `Reader.canonical`."""
        if not self.strips_punctuation:
            return text
        return re.sub(r"\s+", " ", text.replace("▁", " ").lower().translate(_PUNCTUATION)).strip()

    def count(self, text: str) -> int:
        """As `Reader.count`."""
        return len(self._tokens([text])[0]) + self.tokenizer.num_special_tokens_to_add(False)

    def is_empty(self, text: str) -> bool:
        """As `Reader.is_empty`."""
        text = self.canonical(text)
        return not text.strip() or not self._tokens([text])[0].ids

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """As `Reader.read`."""
        room = self.context_length - self.tokenizer.num_special_tokens_to_add(False)
        encodings = self._tokens(texts)
        for encoding in encodings:
            encoding.truncate(room)
        return [self.tokenizer.post_process(encoding).ids for encoding in encodings]

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Ids, Ids]:
        """As `Reader.pad`."""
        length = self.context_length if self.fixed else max(map(len, rows))
        ids = np.full((len(rows), length), self.pad_id, np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for number, row in enumerate(rows):
            place = slice(length - len(row), None) if self.side == "left" else slice(len(row))
            ids[number, place], mask[number, place] = row, 1
        return ids, mask

    def rules(self) -> str:
        """As `Reader.rules`."""
        options = (self.context_length, self.pad_id, self.fixed, self.side, self.strips_punctuation)
        return f"{options} {self.tokenizer.to_str()}"

    def _tokens(self, texts: Sequence[str]) -> list[Encoding]:
        encodings: list[Encoding] = self.tokenizer.encode_batch(
            [self.canonical(text) for text in texts], add_special_tokens=False
        )
        return encodings
