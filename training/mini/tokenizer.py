"""The shipped tokenizer: the SentencePiece pieces of the text tower, cut down to those that English and Chinese use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer
from towers import E5File

HAN = re.compile(r"▁?[㐀-鿿豈-﫿、-〿]+")
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
MARKS = (("<s>", 0), ("</s>", 2))
CONTROL = r"[\u0000-\u0008\u000B\u000E-\u001F\u007F\u008F\u009F\u00AD\u2060\u200B-\u200F\uFEFF\uFFFD]"


def build_tokenizer(pieces: list[str], scores: list[float]) -> Tokenizer:
    """A Unigram tokenizer over `pieces`, the first four of which are the special tokens; offsets refer to the original text."""
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True} for number, token in enumerate(SPECIAL)
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"Regex": CONTROL}, "content": " "},
            {"type": "NFKC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Strip", "strip_left": True, "strip_right": True},
        ]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}},
                     {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]} for token, number in MARKS},
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 3, "byte_fallback": False,
                  "vocab": [[piece, round(score, 4)] for piece, score in zip(pieces, scores, strict=True)]},
    }  # fmt: skip
    return Tokenizer.from_str(json.dumps(content, ensure_ascii=False))


def choose_pieces(source: E5File, corpus: Iterable[str], size: int) -> list[int]:
    """Numbers of the pieces to keep: special tokens, single characters, and the most used pieces of `corpus`.

    A text with a dropped piece is cut into shorter pieces, so that nothing becomes unknown but characters of other scripts.
    """
    whole = build_tokenizer(source.pieces, source.scores)
    uses = [0] * len(source.pieces)
    for encoding in whole.encode_batch(list(corpus), add_special_tokens=False):
        for number in encoding.ids:
            uses[number] += 1
    single = {number for number, piece in enumerate(source.pieces) if len(piece) == 1 and _ours(piece)}
    single |= {number for number, piece in enumerate(source.pieces) if re.fullmatch("▁[!-~]?", piece)}
    best = sorted(range(len(uses)), key=lambda number: (-uses[number], number))
    rest = [number for number in best if uses[number] and number not in single and number > 3]
    # Common pieces come early in the list of a multilingual vocabulary, which serves where the corpus has no opinion.
    rest += [number for number, piece in enumerate(source.pieces)
             if not uses[number] and number > 3 and number not in single and re.fullmatch("▁[A-Za-z]{3,}", piece)]  # fmt: skip
    return [0, 1, 2, 3, *sorted(single - {0, 1, 2, 3}), *sorted(rest[: max(0, size - 4 - len(single))])]


def _ours(piece: str) -> bool:
    return bool(HAN.fullmatch(piece)) or ord(piece) < 0x250 or 0x2000 <= ord(piece) < 0x3000 or ord(piece) > 0xFF00


def save_tokenizer(source: E5File, keep: list[int], path: Path) -> None:
    """Write tokenizer.json for the kept pieces."""
    tokenizer = build_tokenizer([source.pieces[number] for number in keep], [source.scores[number] for number in keep])
    path.write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
