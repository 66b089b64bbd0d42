"""Words of plain text, each of which a bundled tokenizer has to read only once.

A tokenizer cuts a text into words before it makes tokens, and the tokens of a word don't depend on those beside it. So where
the words can be found without the tokenizer, their tokens can be remembered. That is done for the characters where finding
them is simple; the tests hold each of these against the tokenizer. All other texts are left to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Any, NamedTuple

Spelling = tuple[tuple[int, ...], tuple[int, ...]]
"""The token ids of one word, and where in it each token begins, in characters."""

_MOST = 30_000  # words, about 10 MB
_LONGEST = 40  # characters of one that is worth remembering

_SPACE = "\t\n\r "
_LATIN = "a-zß-öø-ÿ"  # as lower case
# BERT's words are runs of these. Accents it takes off inside a word. Σ isn't here: Python lowers it by what stands beside it.
_LETTERS = (
    "0-9A-Za-z\xa2-\xa6\xa8-\xaa\xac\xae-\xb5\xb8-\xba\xbc-\xbe\xc0-\xff\u0391-\u03a1\u03a4-\u03a9\u03b1-\u03c9\u0400-\u045f"
    "\u2070-\u207c\u2080-\u208c\u20ac\u2103\u2109\u2116\u2122\u2160-\u217f\u2190-\u2199\u221a-\u221e\u2248\u2264\u2265\u2460-\u2767"
    "\u3004-\u3007\u3012\u3013\u3041-\u3096\u309b-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff04\uff0b\uff10-\uff19\uff1c-\uff1e\uff21-\uff3a\uff3e\uff40-\uff5a\uff5c\uff5e"
)
# Each of these, Han and punctuation, is a word of BERT and one token.
_SIGNS = (
    "!-/:-@\\[-`{-~\xa1\xa7\xab\xb6\xb7\xbb\xbf\u2010-\u2027\u2030-\u2043\u3001-\u3003\u3008-\u3011\u3014-\u301f\u30fb\u3400-\u4dbf\u4e00-\u9fff"
    "\uff01-\uff03\uff05-\uff0a\uff0c-\uff0f\uff1a\uff1b\uff1f\uff20\uff3b-\uff3d\uff3f\uff5b\uff5d"
)


class Rule(NamedTuple):
    """How a bundled tokenizer reads plain text. All but `word` are for use inside a character class."""

    plain: str
    """What plain text is made of."""
    single: str
    """Of these, what never makes more than one token."""
    letters: str
    """What has to stand on both sides of a place for a word to go on there."""
    word: str
    """The pattern of words, in lower case."""
    signs: str
    """What the pattern passes over and is a word of one token by itself."""


RULES = {
    # CLIP: contractions, runs of letters, single digits, runs of all else that is no white space.
    "clip": Rule(
        plain=f"{_SPACE}!-~\xa1-\xa9\xab\xac\xae-\xb1\xb4\xb6-\xb8\xbb\xbf-\xff\u2010-\u2027\u2030-\u205e\u20ac\u2122\u2190-\u21ff",
        single=f"{_SPACE}!-~",
        letters="\\S",
        word=f"'s|'t|'re|'ve|'m|'ll|'d|[{_LATIN}]+|[0-9]|[^\\s{_LATIN}0-9]+",
        signs="",
    ),
    "chinese-clip": Rule(
        plain=_SPACE + _LETTERS + _SIGNS, single=_SPACE + _LETTERS + _SIGNS, letters=_LETTERS, word=f"[{_LETTERS}]+", signs=_SIGNS
    ),
}
"""Of each bundled tokenizer."""

_MARK = "_of_text>"  # `<start_of_text>` in a text is one token of CLIP


class Words:
    """The words of one tokenizer; `spell` reads one that is new."""

    def __init__(self, rule: Rule, spell: Callable[[str], Spelling]) -> None:
        self._word = re.compile(rule.word)
        self._odd, self._double = re.compile(f"[^{rule.plain}]"), re.compile(f"[^{rule.single}]")
        self._within = re.compile(f"[{rule.letters}]{{2}}")
        self._ids, self._starts = _Known(lambda new: spell(new)[0]), _Known(lambda new: spell(new)[1])

    def is_single(self, text: str) -> bool:
        """Whether a text surely has no more tokens than characters."""
        return not self._double.search(text)

    def parts(self, text: str, place: int) -> bool:
        """Whether the tokens that begin before a place are surely those of what stands before it, read on its own."""
        return not self._within.match(text, place - 1) and self._found(text) is not None

    def count(self, text: str) -> int | None:
        """How many tokens a text has, without special ones; None if it is not plain."""
        found = self._found(text)
        return None if found is None else self._total(found)

    def ids(self, text: str) -> list[int] | None:
        """Its token ids; None if it is not plain."""
        found = self._found(text)
        return None if found is None else list(chain.from_iterable(map(self._ids.__getitem__, self._each(found))))

    def starts(self, text: str, most: int) -> list[int] | None:
        """Where the first `most` tokens begin, in characters; None if the text is not plain."""
        found = self._found(text)
        return None if found is None else self._places(found, most)[:most]

    def _found(self, text: str) -> str | None:
        """The text as the pattern of words is for; no plain character changes its length."""
        return None if self._odd.search(text) or _MARK in (text := text.lower()) else text

    def _each(self, found: str) -> Iterable[str]:
        """The words in their order."""
        return self._word.findall(found)

    def _total(self, found: str) -> int:
        return sum(map(len, map(self._ids.__getitem__, self._word.findall(found))))

    def _places(self, found: str, most: int) -> list[int]:
        matches = self._word.finditer(found)
        return list(islice((match.start() + start for match in matches for start in self._starts[match[0]]), most))


class WordsAndSigns(Words):
    """The same with signs, which need not be searched for: each is one token."""

    def __init__(self, rule: Rule, spell: Callable[[str], Spelling]) -> None:
        super().__init__(rule, spell)
        self._split = re.compile(f"({rule.word})")
        self._run = re.compile(f"{rule.word}|([{rule.signs}]+)")

    def _each(self, found: str) -> Iterable[str]:
        pieces: list[Any] = self._split.split(found)
        pieces[1::2] = zip(pieces[1::2])  # words, in tuples; what lies between them is taken apart into signs
        return chain.from_iterable(pieces)

    def _total(self, found: str) -> int:
        words = self._word.findall(found)
        signs = len(found) - sum(map(len, words)) - sum(map(found.count, _SPACE))
        return signs + sum(map(len, map(self._ids.__getitem__, words)))

    def _places(self, found: str, most: int) -> list[int]:
        places: list[int] = []
        for match in self._run.finditer(found):
            places += range(*match.span()) if match.lastindex else map(match.start().__add__, self._starts[match[0]])
            if len(places) >= most:
                break
        return places


def words_of(name: str, spell: Callable[[str], Spelling]) -> Words | None:
    """The words of a bundled tokenizer; one from a file has its own rules of what a word is."""
    rule = RULES.get(name)
    return rule and (WordsAndSigns if rule.signs else Words)(rule, spell)


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
