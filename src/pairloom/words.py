"""Words of plain text, each of which a bundled tokenizer has to read only once.

A tokenizer cuts a text into words before it makes tokens, and the tokens of a word don't depend on those beside it. So where
the words can be found without the tokenizer, their tokens can be remembered. That is done for the characters where finding
them is simple; the tests hold each of these against the tokenizer. All other texts are left to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain, islice

Spelling = tuple[tuple[int, ...], tuple[int, ...]]
"""The token ids of one word, and where in it each token begins, in characters."""

_MOST = 30_000  # words, about 10 MB
_LONGEST = 40  # characters of one that is worth remembering

_HAN = (
    "\t\n\r -~\u3400-\u4dbf\u4e00-\u9fff\u3001\u3002\u3008-\u3011\xb7\u2013\u2014\u2018\u2019\u201c\u201d\u2026"
    "\uff01\uff08\uff09\uff0c\uff0e\uff1a\uff1b\uff1f"
)
_LATIN = "a-zß-öø-ÿ"  # as lower case
RULES = {
    # CLIP: contractions, runs of letters, single digits, runs of all else that is no white space.
    "clip": (
        "\t\n\r -~\xa1-\xa9\xab\xac\xae-\xb1\xb4\xb6-\xb8\xbb\xbf-\xff\u2010-\u2027\u2030-\u205e\u20ac\u2122\u2190-\u21ff",
        f"'s|'t|'re|'ve|'m|'ll|'d|[{_LATIN}]+|[0-9]|[^\\s{_LATIN}0-9]+",
        "\t\n\r -~",
    ),
    # BERT: runs of letters and digits, single Han characters, single punctuation marks.
    "chinese-clip": (_HAN, "[a-z0-9]+|\\S", _HAN),
}
"""Of each bundled tokenizer: its plain characters, for use inside a character class; how it cuts lower-cased ones into words;
and the characters that never make more than one token."""

_MARK = "_of_text>"  # `<start_of_text>` in a text is one token of CLIP


class Words:
    """The words of one tokenizer; `spell` reads one that is new. All methods give None for a text that is not plain."""

    def __init__(self, name: str, spell: Callable[[str], Spelling]) -> None:
        plain, word, single = RULES[name]
        self._odd, self._word, self._double = re.compile(f"[^{plain}]"), re.compile(word), re.compile(f"[^{single}]")
        self._ids, self._starts = _Known(lambda new: spell(new)[0]), _Known(lambda new: spell(new)[1])

    def is_single(self, text: str) -> bool:
        """Whether a text surely has no more tokens than characters."""
        return not self._double.search(text)

    def count(self, text: str) -> int | None:
        """How many tokens a text has, without special ones."""
        found = self._found(text)
        return None if found is None else self._total(found)

    def ids(self, text: str) -> list[int] | None:
        """Its token ids."""
        found = self._found(text)
        return None if found is None else list(chain.from_iterable(map(self._ids.__getitem__, self._word.findall(found))))

    def starts(self, text: str, most: int) -> tuple[list[int], int] | None:
        """Where the first `most` tokens begin, in characters, and how many there are."""
        found = self._found(text)
        if found is None:
            return None
        matches = self._word.finditer(found)
        places = (match.start() + start for match in matches for start in self._starts[match[0]])
        return list(islice(places, most)), self._total(found)

    def _total(self, found: str) -> int:
        return sum(map(len, map(self._ids.__getitem__, self._word.findall(found))))

    def _found(self, text: str) -> str | None:
        """The text as the pattern of words is for; no plain character changes its length."""
        return None if self._odd.search(text) or _MARK in (text := text.lower()) else text


class _Known(dict[str, tuple[int, ...]]):
    """What has been read, by word; what is missing is read."""

    def __init__(self, read: Callable[[str], tuple[int, ...]]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, word: str) -> tuple[int, ...]:
        made = self._read(word)
        if len(word) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[word] = made
        return made
