"""A long text to clean text, its segments within a model's budget as offsets, and the token ids of the whole.

English goes by CLIP's tokenizer and its 77 tokens, Chinese by Chinese-CLIP's and its 52.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from speed.contender import Contender, Make, each

TOKENIZER, RULES, TEXTS = "tokenizer.json", "rules.json", "texts.json"
"""Files in the folder of the items: the one tokenizer of all, the language with name and budget of the tokenizer, the texts."""


def load() -> list[str]:
    """The texts of the current folder."""
    texts: list[str] = json.loads(Path(TEXTS).read_text("utf-8"))
    return texts


def pairloom() -> Contender:
    """The steps `clean`, `segment` and `tokenize` on batches of 64, as a run has them."""
    from pairloom.batch import Batch, Row
    from pairloom.steps.segment import Segment
    from pairloom.steps.text import Clean, Tokenize

    name, most = _rules()["tokenizer"], _rules()["max_tokens"]
    steps = (Clean(), Segment(most, name), Tokenize(name))

    def run(texts: Sequence[str]) -> None:
        for start in range(0, len(texts), 64):
            rows = [Row(str(number), "", None, (text,)) for number, text in enumerate(texts[start : start + 64])]
            batch = Batch.read([row.source_key for row in rows], rows)
            for step in steps:
                batch = step(batch)

    return Contender(run)


def usual() -> Contender:
    """The usual script: ftfy, pysbd, one call of the tokenizer for each sentence, sentences packed up to the budget."""
    import ftfy
    from pysbd import Segmenter
    from tokenizers import Tokenizer

    tokenizer, room = Tokenizer.from_file(TOKENIZER), _room()
    segmenter = Segmenter(language=_rules()["language"], clean=False)

    def work(text: str) -> list[str]:
        text = ftfy.fix_text(text)
        counted = [(sentence, len(tokenizer.encode(sentence).ids)) for sentence in segmenter.segment(text)]
        return list(_packed(counted, tokenizer, room))

    return Contender(each(work))


def splitter() -> Contender:
    """semantic-text-splitter with the same tokenizer, with offsets; then the ids of its chunks."""
    from semantic_text_splitter import TextSplitter
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(TOKENIZER)
    splits = TextSplitter.from_huggingface_tokenizer(tokenizer, _room())

    def work(text: str) -> list[list[int]]:
        chunks = splits.chunk_indices(text)
        return [encoding.ids for encoding in tokenizer.encode_batch([chunk for _, chunk in chunks])]

    return Contender(each(work))


def bare() -> Contender:
    """`tokenizers` alone: ids and offsets of the whole texts, in batches, neither cleaned nor cut."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(TOKENIZER)

    def run(texts: Sequence[str]) -> list[list[int]]:
        batches = (tokenizer.encode_batch(texts[start : start + 64]) for start in range(0, len(texts), 64))
        return [encoding.ids for batch in batches for encoding in batch]

    return Contender(run)


def open_clip() -> Contender:
    """`SimpleTokenizer`: texts mended by ftfy, and cut to the first 77 tokens without a word."""
    if _rules()["tokenizer"] != "clip":
        raise ValueError("has CLIP's vocabulary alone")
    from speed.arrays import let_torchvision_import

    let_torchvision_import()
    from open_clip.tokenizer import SimpleTokenizer

    return Contender(SimpleTokenizer())


CONTENDERS: dict[str, tuple[str, Make]] = {
    "Pairloom": ("pairloom", pairloom),
    "tokenizers alone": ("text", bare),
    "usual script (pysbd)": ("text", usual),
    "semantic-text-splitter": ("text", splitter),
    "open_clip, no segments": ("torch", open_clip),
}


def _rules() -> dict[str, Any]:
    rules: dict[str, Any] = json.loads(Path(RULES).read_text("utf-8"))
    return rules


def _room() -> int:
    """Tokens without the two marks."""
    return int(_rules()["max_tokens"]) - 2


def _packed(counted: list[tuple[str, int]], tokenizer: Any, room: int) -> Iterator[str]:
    """Sentences joined while they fit; one that is too long by itself is cut where its tokens are over the budget."""
    held, used = "", 0
    for sentence, size in counted:
        if held and used + size > room:
            yield held
            held, used = "", 0
        if size > room:
            offsets = tokenizer.encode(sentence).offsets
            places = [*(offsets[start][0] for start in range(0, size, room)), len(sentence)]
            yield from (sentence[start:end] for start, end in pairwise(places))
        else:
            held, used = held + sentence, used + size
    if held:
        yield held
