"""Tokenizers by name, only to count tokens and to know where in a text each one lies."""

from __future__ import annotations

import functools
import gzip
import json
import unicodedata
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from pairloom.errors import UsageError
from pairloom.words import Spelling, Words, words_of

BUNDLED = {"clip": "clip-tokenizer.json.gz", "chinese-clip": "chinese-clip-tokenizer.json.gz"}
"""Tokenizers that come with Pairloom. `clip` is the lower-cased byte-level BPE of OpenAI's CLIP as open_clip ships it (MIT).
Its ids are those of open_clip's `SimpleTokenizer`, short of the mending of broken text that the latter does first.
`chinese-clip` is the lower-cased WordPiece of Chinese BERT with the vocabulary that Chinese-CLIP ships (MIT)."""

MARKS = {"clip": ((49406,), (49407,)), "chinese-clip": ((101,), (102,))}
"""The ids before and after a text that an encoder of the bundled tokenizers expects: `<start_of_text>` and `<end_of_text>`,
`[CLS]` and `[SEP]`."""

CONTEXT = {"clip": 77, "chinese-clip": 52}
"""The most tokens that the models of the bundled tokenizers read, marks included."""

ESTIMATE = "estimate"
"""Counts as `clip` does, for a model whose own tokenizer is not at hand; it has no ids, since they would mean nothing to it."""

SPECIALS = 2
"""The begin and end marks that a text encoder adds. The tokenizers here leave them out; who counts tokens adds them."""

_BLOCK = 100_000
_JOINERS = frozenset("\u200d\ufe0e\ufe0f\u20e3")
_SKIN_TONES = range(0x1F3FB, 0x1F400)


@functools.cache
def load_tokenizer(name: str) -> Tokenizer:
    """A tokenizer by its name, or from the path of a `tokenizer.json`; without truncation and padding.

    Raises `UsageError` if there is none of that name, or if the file is not a tokenizer.
    """
    if name == ESTIMATE:
        return load_tokenizer("clip")
    if name in BUNDLED:
        packed = files("pairloom").joinpath("data", BUNDLED[name]).read_bytes()
        return _parse(gzip.decompress(packed).decode())
    path = Path(name)
    if not path.is_file():
        there = ", ".join(f"`{known}`" for known in (*BUNDLED, ESTIMATE))
        raise UsageError(f"there is no tokenizer {name!r}: give {there} or the path of a tokenizer.json file")
    try:
        return _parse(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} is not a tokenizer.json file: {error}") from error


def no_ids(name: str) -> str | None:
    """Why a tokenizer that counts can't give the ids of a text, None if it can."""
    if name != ESTIMATE:
        return None
    return f"the tokenizer `{ESTIMATE}` only counts; for ids give the path of the model's own tokenizer.json file"


def ids(name: str, text: str) -> list[int]:
    """The token ids of a text, without special ones."""
    words = _words(name)
    plain = words.ids(text) if words else None
    return list(_encoding(name, text).ids) if plain is None else plain


def starts(name: str, text: str, most: int) -> list[int]:
    """Where in a text the first `most` of its tokens begin, in characters; without special ones."""
    words = _words(name)
    plain = words.starts(text, most) if words else None
    return [start for start, _ in _encoding(name, text).offsets[:most]] if plain is None else plain


def count(name: str, text: str) -> int:
    """How many tokens a text has, without special ones.

    A text over 100,000 characters is read in blocks cut between words, to bound memory: an encoding takes hundreds of bytes
    a token. A block that has to be cut inside a word may add a token.
    """
    if len(text) <= _BLOCK:
        return _count(name, text)
    return sum(_count(name, text[start:end]) for start, end in _blocks(text, 0))


def is_single(name: str, text: str) -> bool:
    """Whether a text, and each part of it, surely has no more tokens than characters, without special ones."""
    words = _words(name)
    return bool(words and words.is_single(text))


def parts(name: str, text: str, place: int) -> bool:
    """Whether the tokens that begin before a place are surely those of what stands before it, read on its own."""
    words = _words(name)
    return bool(words and words.parts(text, place))


def measure(name: str, text: str, budget: int) -> tuple[list[int], int]:
    """Where the first `budget` + 1 tokens of a text begin, as `starts` has them, and how many it has in all."""
    size = _BLOCK
    while True:
        end = next((end for _, end in _blocks(text, 0, size)), 0)
        found, head = _measured(name, text[:end], budget + 1)
        if end == len(text) or head > budget:
            return found, head + sum(_count(name, text[start:stop]) for start, stop in _blocks(text, end))
        size *= 2


def longest_prefix(name: str, text: str, budget: int, found: list[int] | None = None) -> int:
    """Where to cut a text so that what stands before has at most `budget` tokens, read on its own.

    Cuts inside a visible character (an emoji family, a letter with its marks) only if that one alone is over the budget, and
    cuts between words if a space lies in the last half of what fits. `found`, what `measure` gave, saves reading the text again.
    Gives 0 if not even one code point fits.
    """
    found = found or measure(name, text, budget)[0]
    if len(found) <= budget:
        return len(text)
    end = found[budget]
    while end > 0:
        end = between_characters(text, end) or end
        if not text[end : end + 1].isspace():
            space = next((place for place in range(end, end // 2, -1) if text[place - 1].isspace()), 0)
            end = space or end
        # A cut inside a word changes how its head is spelt in tokens, so only reading it again tells.
        if count(name, text[:end]) <= budget:
            break
        end -= 1
    return end


def between_characters(text: str, end: int) -> int:
    """The last place at or before `end` that doesn't split a visible character, an approximation of UAX #29."""
    while 0 < end < len(text) and _joined(text, end):
        end -= 1
    return end


def _measured(name: str, text: str, most: int) -> tuple[list[int], int]:
    """Where the first `most` tokens of a text begin, and how many it has."""
    words = _words(name)
    total = words.count(text) if words else None
    if total is not None:
        return starts(name, text, most), total
    encoding = _encoding(name, text)
    return [start for start, _ in encoding.offsets[:most]], len(encoding)


def _count(name: str, text: str) -> int:
    words = _words(name)
    plain = words.count(text) if words else None
    return len(_encoding(name, text)) if plain is None else plain


def _encoding(name: str, text: str) -> Encoding:
    return load_tokenizer(name).encode(text, add_special_tokens=False)


@functools.cache
def _words(name: str) -> Words | None:
    name = "clip" if name == ESTIMATE else name
    return words_of(name, functools.partial(_spelling, name))


def _spelling(name: str, word: str) -> Spelling:
    encoding = _encoding(name, word)
    return tuple(encoding.ids), tuple(start for start, _ in encoding.offsets)


def _blocks(text: str, start: int, size: int = _BLOCK) -> Iterator[tuple[int, int]]:
    """Cut the text from `start` on into blocks of about `size` characters, between words if there is white space."""
    while start < len(text):
        end = start + size
        if end < len(text):
            tail = text[end - size // 16 : end]
            space = next((place for place in range(len(tail), 0, -1) if tail[place - 1].isspace()), 0)
            end = end - len(tail) + space if space else end
        yield start, min(end, len(text))
        start = end


def _joined(text: str, place: int) -> bool:
    after, before = text[place], text[place - 1]
    if before == "\u200d" or after in _JOINERS or ord(after) in _SKIN_TONES or unicodedata.category(after)[0] == "M":
        return True
    # Flags are pairs of regional indicators: an odd number of them before the cut means half a flag.
    flags = 0
    while _is_flag(after) and flags < place and _is_flag(text[place - 1 - flags]):
        flags += 1
    return flags % 2 == 1


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _parse(text: str) -> Tokenizer:
    """Raises `ValueError` if the text is not a tokenizer in JSON."""
    json.loads(text)  # the Rust parser raises a bare Exception; this tells the commonest fault apart
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:
        raise ValueError(str(error)) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
