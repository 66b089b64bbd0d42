"""Tokenizers by name, only to count tokens and to know where in a text each one lies."""

from __future__ import annotations

import functools
import gzip
import json
import unicodedata
from importlib.resources import files
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from pairloom.errors import UsageError

BUNDLED = {"clip": "clip-tokenizer.json.gz"}
"""Tokenizers that come with Pairloom. `clip` is the lower-cased byte-level BPE of OpenAI's CLIP as open_clip ships it (MIT).
Its ids are those of open_clip's `SimpleTokenizer`, short of the mending of broken text that the latter does first."""

SPECIALS = 2
"""The begin and end marks that a text encoder adds. The tokenizers here leave them out; who counts tokens adds them."""

_JOINERS = frozenset("\u200d\ufe0e\ufe0f\u20e3")
_SKIN_TONES = range(0x1F3FB, 0x1F400)


@functools.cache
def load_tokenizer(name: str) -> Tokenizer:
    """A tokenizer by its name, or from the path of a `tokenizer.json`; without truncation and padding.

    Raises `UsageError` if there is none of that name, or if the file is not a tokenizer.
    """
    if name in BUNDLED:
        packed = files("pairloom").joinpath("data", BUNDLED[name]).read_bytes()
        return _parse(gzip.decompress(packed).decode())
    path = Path(name)
    if not path.is_file():
        there = ", ".join(f"`{known}`" for known in BUNDLED)
        raise UsageError(f"there is no tokenizer {name!r}: give {there} or the path of a tokenizer.json file")
    try:
        return _parse(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} is not a tokenizer.json file: {error}") from error


def encode(name: str, text: str) -> Encoding:
    """The tokens of a text, without special ones; their offsets count characters."""
    return load_tokenizer(name).encode(text, add_special_tokens=False)


def count(name: str, text: str) -> int:
    """How many tokens a text has, without special ones."""
    return len(encode(name, text).ids)


def longest_prefix(name: str, text: str, budget: int, encoding: Encoding | None = None) -> int:
    """Where to cut a text so that what stands before has at most `budget` tokens, read on its own.

    Never cuts inside a visible character (an emoji family, a letter with its marks), and cuts between words if a space lies in
    the last half of what fits. `encoding` saves reading the text again. Gives 0 if not even one character fits.
    """
    encoding = encoding or encode(name, text)
    if len(encoding.ids) <= budget:
        return len(text)
    end = int(encoding.offsets[budget][0])
    while end > 0:
        end = _between_characters(text, end)
        if not text[end : end + 1].isspace():
            space = next((place for place in range(end, end // 2, -1) if text[place - 1].isspace()), 0)
            end = space or end
        # A cut inside a word changes how its head is spelt in tokens, so only reading it again tells.
        if count(name, text[:end]) <= budget:
            break
        end -= 1
    return end


def _between_characters(text: str, end: int) -> int:
    """The last place at or before `end` that doesn't split a visible character, an approximation of UAX #29."""
    while 0 < end < len(text) and _joined(text, end):
        end -= 1
    return end


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
