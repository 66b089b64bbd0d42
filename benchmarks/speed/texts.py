"""A long text to clean text, its segments of at most 77 tokens as offsets, and the token ids of the whole, by CLIP's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from speed.contender import Contender, Make, each

ROOM = 75  # 77 without the two marks
TOKENIZER, LANGUAGE, TEXTS = "clip-tokenizer.json", "language", "texts.json"
"""Files that lie in the folder of the items."""


def load() -> list[str]:
    """The texts of the current folder."""
    texts: list[str] = json.loads(Path(TEXTS).read_text("utf-8"))
    return texts


def pairloom() -> Contender:
    """The steps `clean`, `segment` and `tokenize` on batches of 64, as a run has them."""
    from pairloom.batch import Batch, Row
    from pairloom.steps.segment import Segment
    from pairloom.steps.text import Clean, Tokenize

    steps = (Clean(), Segment(), Tokenize())

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

    tokenizer = Tokenizer.from_file(TOKENIZER)
    segmenter = Segmenter(language=Path(LANGUAGE).read_text("utf-8"), clean=False)

    def work(text: str) -> list[str]:
        text = ftfy.fix_text(text)
        counted = [(sentence, len(tokenizer.encode(sentence).ids)) for sentence in segmenter.segment(text)]
        return list(_packed(counted, tokenizer))

    return Contender(each(work))


def splitter() -> Contender:
    """semantic-text-splitter with the same tokenizer, with offsets; then the ids of its chunks."""
    from semantic_text_splitter import TextSplitter
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(TOKENIZER)
    splits = TextSplitter.from_huggingface_tokenizer(tokenizer, ROOM)

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


def _packed(counted: list[tuple[str, int]], tokenizer: Any) -> Iterator[str]:
    """Sentences joined while they fit; one that is too long by itself is cut where its tokens are over the budget."""
    held, used = "", 0
    for sentence, size in counted:
        if held and used + size > ROOM:
            yield held
            held, used = "", 0
        if size > ROOM:
            offsets = tokenizer.encode(sentence).offsets
            places = [*(offsets[start][0] for start in range(0, size, ROOM)), len(sentence)]
            yield from (sentence[start:end] for start, end in zip(places, places[1:], strict=False))
        else:
            held, used = held + sentence, used + size
    if held:
        yield held
