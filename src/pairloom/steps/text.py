"""Text steps: cleaning that keeps the meaning, language, tokens."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from typing import ClassVar

import ftfy
import pyarrow as pa

from pairloom.batch import Batch
from pairloom.errors import Reject
from pairloom.languages import identifier
from pairloom.step import Step, TextStep, lift, step
from pairloom.steps.segment import tokenizer_problems
from pairloom.tokenizer import MARKS, ids, load_tokenizer, no_ids

_MEND = ftfy.TextFixerConfig(
    unescape_html=True,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)
_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|#0*38|#[xX]0*26);)+")  # at once: ftfy takes one round for each level
# Without "&", ftfy as configured here changes no text without these. All its signs of mojibake but four letters are two
# characters that stand beside each other.
_MAYBE_BROKEN = re.compile(
    "[\x80-\u2e7f\ud800-\udfff\uf8ff\ufb01\ufb02\ufffd](?:(?<=[\x80-\x9fŒœÃÂ\ud800-\udfff])|[\x80-\u2e7f\uf8ff\ufb01\ufb02\ufffd])"
)
_REMOVED = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\u200b]")  # the other controls are white space
_PLAIN = re.compile(r"(?:[!-%'-~]++ )*+[!-%'-~]++")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_UNSEEN = re.compile(f"{_REMOVED.pattern}|{_BIDI.pattern}")
_BIDI_ENDS = "\u202c\u2069"  # of embeddings and overrides, of isolates
_ISOLATES = "\u2066\u2067\u2068"
_ROUNDS = 8

_HEAD = 2000  # characters that tell a language as well as all of them
_FEWEST = 3
_DENSE = ("CJK", "KANA", "HANGUL")  # a character of these says about as much as three letters
_ALONE = """CJK zh KANA ja HANGUL ko GREEK el HEBREW he ARMENIAN hy GEORGIAN ka THAI th LAO lo KHMER km MYANMAR my TIBETAN bo
TAMIL ta TELUGU te KANNADA kn MALAYALAM ml GUJARATI gu GURMUKHI pa ORIYA or SINHALA si ETHIOPIC am"""
_LANGUAGES = {
    **dict(zip(_ALONE.split()[::2], _ALONE.split()[1::2], strict=True)),
    "CYRILLIC": "be bg kk ky mk mn ru sr tg tt ba uk",
    "ARABIC": "ar fa ps ug ur",
    "DEVANAGARI": "hi mr ne sa",
    "BENGALI": "as bn",
}


@step("clean")
class Clean(TextStep):
    """Mend what is broken and keep what is meant.

    Mended: mojibake and HTML entities. Made one: composed characters (NFC), runs of white space (to one space, none at
    the ends). Removed: control characters, BOM, U+200B, unpaired bidi controls. All else stays, letter by letter.
    `cleaned_chars` counts the characters of all captions as read that the clean captions don't have, by kind and number.
    Captions that are empty afterwards go; a pair without any left is rejected as `empty_text`.

    Example: `clean`
    """

    adds: ClassVar[dict[str, pa.DataType]] = {"cleaned_chars": pa.int32()}

    def problems(self, columns: set[str]) -> list[str]:
        """What a recipe gets wrong: columns that point into the text must not be made before it changes."""
        late = sorted({"segments", "caption", "tokens"} & columns)
        return [f"changes the texts that `{name}` was made of: put `clean` before" for name in late]

    def text(self, text: str) -> str:
        """One clean caption."""
        for _ in range(_ROUNDS):  # what one round mends can show the next layer; nesting deeper than this is no accident
            if not text or _PLAIN.fullmatch(text):
                break
            before = text
            text, sound = _round(text)
            if sound or text == before:
                break
        return text

    def __call__(self, batch: Batch) -> Batch:
        results, rejects = lift(self._captions, batch["texts"])
        texts = [result[0] if result else old for result, old in zip(results, batch["texts"], strict=True)]
        first = [row[0] if row else "" for row in texts]
        changed = [result[1] if result else 0 for result in results]
        return batch.with_columns(self.adds, texts=texts, text=first, cleaned_chars=changed).with_rejects(rejects)

    def _captions(self, texts: list[str | None]) -> tuple[list[str], int]:
        before = [text or "" for text in texts]
        after = [self.text(text) for text in before]
        kept = [text for text in after if text]
        if not kept:
            raise Reject("empty_text", f"nothing left of {len(texts)} captions")
        changed = sum(_lost(old, new) for old, new in zip(before, after, strict=True) if old != new)
        return kept, changed


@step("detect_language")
class DetectLanguage(Step):
    """Add the `language` of the first caption, as ISO 639-1 or "und" if that can't be told, and `language_score`, 0 to 1.

    The script that takes up most of the text decides first: Han without kana is Chinese, with kana Japanese, and so on; among
    the languages of one script a classifier chooses. The score is the share of that script times the classifier's
    probability, which is low for texts of a few words.

    Example: `detect_language`
    """

    reads: ClassVar[tuple[str, ...]] = ("text",)
    adds: ClassVar[dict[str, pa.DataType]] = {"language": pa.string(), "language_score": pa.float32()}

    def text(self, text: str) -> tuple[str, float]:
        """The language of one text and its score."""
        head = text[:_HEAD]
        script, share = _main_script(head)
        languages = _languages().get(script, ())
        if len(languages) < 2:
            return (languages[0], share) if languages else ("und", 0.0)
        ranked = [(name, float(chance)) for name, chance in identifier().rank(head) if name in languages]
        name, chance = max(ranked, key=lambda pair: pair[1])
        return name, share * chance / (sum(chance for _, chance in ranked) or 1.0)

    def __call__(self, batch: Batch) -> Batch:
        found = [self.text(text or "") for text in batch["text"]]
        return batch.with_columns(self.adds, language=[name for name, _ in found], language_score=[score for _, score in found])


@step("tokenize")
class Tokenize(Step):
    """Store the token ids of the first caption, whole and unpadded.

    `clip` and `chinese-clip` get their begin and end marks; a tokenizer from a file adds what its file says.

    Example: `tokenize: {tokenizer: clip}`
    """

    tokenizer: str = "clip"

    reads: ClassVar[tuple[str, ...]] = ("text",)
    adds: ClassVar[dict[str, pa.DataType]] = {"tokens": pa.list_(pa.int32())}

    def problems(self, columns: set[str]) -> list[str]:
        """What a recipe gets wrong that the fields alone don't show."""
        unfit = no_ids(self.tokenizer)
        return [unfit] if unfit else tokenizer_problems(self.tokenizer)

    def text(self, text: str) -> list[int]:
        """The token ids of one text. Raises `UsageError` if there is no such tokenizer."""
        if self.tokenizer not in MARKS:
            return list(load_tokenizer(self.tokenizer).encode(text).ids)
        begin, end = MARKS[self.tokenizer]
        return [*begin, *ids(self.tokenizer, text), *end]

    def __call__(self, batch: Batch) -> Batch:
        tokens, rejects = lift(self.text, [text or "" for text in batch["text"]])
        return batch.with_columns(self.adds, tokens=tokens).with_rejects(rejects)


def _lost(old: str, new: str) -> int:
    """How many characters, by kind and number, are not there any more."""
    if " ".join(old.split()) != new:
        return sum(max(0, old.count(kind) - new.count(kind)) for kind in set(old))
    before, after = old.count(" "), new.count(" ")  # and no other white space is left
    others = len(old) - before - (len(new) - after)
    return others + max(0, before - after)


def _round(text: str) -> tuple[str, bool]:
    """One round of cleaning, and whether it found white space alone to change: then a second one finds nothing."""
    sound = "&" not in text and not _MAYBE_BROKEN.search(text)
    if not sound:
        text = ftfy.fix_text(_AMPERSANDS.sub("&", text), _MEND)
    if not text.isprintable() and _UNSEEN.search(text):  # neither of these is ever printable
        text, sound = _paired(_REMOVED.sub("", text)), False
    spaced = " ".join(text.split())
    text = unicodedata.normalize("NFC", spaced)
    return text, sound and text == spaced


def _paired(text: str) -> str:
    """Remove bidi controls that open without an end or end what isn't open."""
    unpaired: set[int] = set()
    opened: list[tuple[int, bool]] = []  # where, and whether it's an isolate
    isolates = 0
    for match in _BIDI.finditer(text):
        place, mark = match.start(), match.group()
        if mark not in _BIDI_ENDS:
            opened.append((place, mark in _ISOLATES))
            isolates += mark in _ISOLATES
        elif mark == _BIDI_ENDS[0] and opened and not opened[-1][1]:
            opened.pop()
        elif mark == _BIDI_ENDS[1] and isolates:
            while not opened[-1][1]:  # the end of an isolate ends all that was opened inside it
                unpaired.add(opened.pop()[0])
            opened.pop()
            isolates -= 1
        else:
            unpaired.add(place)
    unpaired.update(place for place, _ in opened)
    return "".join(letter for place, letter in enumerate(text) if place not in unpaired) if unpaired else text


@functools.cache
def _script(letter: str) -> str:
    """The script of a letter, as the first word of its Unicode name tells it."""
    return unicodedata.name(letter, "UNKNOWN").split(maxsplit=1)[0]


def _main_script(text: str) -> tuple[str, float]:
    """The script that takes up most of a text, and its share; ("", 0) if there are too few letters to tell a language."""
    counts: Counter[str] = Counter()
    for letter, number in Counter(text).items():
        if letter.isalpha():
            counts[_script(letter)] += number
    kana = counts.pop("HIRAGANA", 0) + counts.pop("KATAKANA", 0)
    counts["KANA" if kana * 20 > counts["CJK"] else "CJK"] += kana
    if counts["KANA"]:  # Japanese is written in both
        counts["KANA"] += counts.pop("CJK", 0)
    weights = {script: number * (3 if script in _DENSE else 1) for script, number in counts.items()}
    script = max(weights, key=lambda script: weights[script])
    return (script, weights[script] / sum(weights.values())) if weights[script] >= _FEWEST else ("", 0.0)


@functools.cache
def _languages() -> dict[str, tuple[str, ...]]:
    """The languages by script. Latin has all that the classifier knows and no other script claims."""
    others = {script: tuple(names.split()) for script, names in _LANGUAGES.items()}
    claimed = {name for names in others.values() for name in names} - {"sr"}  # Serbian is written in both
    latin = (str(name) for name in identifier().labels if len(name) == 2 and name not in claimed)
    return {**others, "LATIN": tuple(latin)}
