"""Packing: the sequences of several pairs in one row, for training multimodal language models without padding."""

from __future__ import annotations

from collections.abc import Sequence

from pairloom.torch.collate import IGNORED, Batch, Collate, Counts, count_text, rectangle, round_up


def packed_batch(
    texts: Sequence[Sequence[Sequence[int]]], patches: Sequence[int], pad_id: int, collate: Collate, counts: Counts
) -> tuple[Batch, list[int]]:
    """The text part of a batch of B pairs in R rows, and the order in which the pairs stand there; `patches` is how many each
    image takes. The images must follow that order, since models put them where they find image tokens, row after row.

    `input_ids`, `attention_mask`, `segment_ids` (from 1 on in each row, 0 on padding), `position_ids` (from 0 on in each pair),
    `pair_ids` (the pair's place in that order, -1 on padding) and `labels` (the ids, -100 on image tokens and padding), all int64
    (R, L). Tokens may only attend to those of the same pair.
    """
    assert collate.pack is not None
    pairs = [_sequence(segments, count, collate.image_token) for segments, count in zip(texts, patches, strict=True)]
    rows = first_fit([len(ids) for ids, _, _ in pairs], collate.pack)
    order = [pair for row in rows for pair in row]
    place = {pair: number for number, pair in enumerate(order)}
    length = min(round_up(max(sum(len(pairs[pair][0]) for pair in row) for row in rows), collate.text_multiple), collate.pack)
    ids = [[token for pair in row for token in pairs[pair][0]] for row in rows]
    count_text(counts, ids, length, len(texts) * collate.pack)
    batch = {
        "input_ids": rectangle(ids, length, pad_id),
        "attention_mask": rectangle([[1] * len(row) for row in ids], length, 0),
        "segment_ids": rectangle([_numbered([pairs[pair][1] for pair in row]) for row in rows], length, 0),
        "position_ids": rectangle([[at for pair in row for at in range(len(pairs[pair][0]))] for row in rows], length, 0),
        "pair_ids": rectangle([[place[pair] for pair in row for _ in pairs[pair][0]] for row in rows], length, -1),
        "labels": rectangle([[label for pair in row for label in pairs[pair][2]] for row in rows], length, IGNORED),
    }
    return batch, order


def first_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Items by number in rows of at most `room`: the longest first, each into the first row that has room for it.

    Raises:
        ValueError: if one is longer than a row.
    """
    rows: list[list[int]] = []
    free: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda item: (-lengths[item], item)):
        if lengths[item] > room:
            raise ValueError(f"{lengths[item]} tokens don't fit into {room}")
        place = next((place for place, left in enumerate(free) if left >= lengths[item]), len(rows))
        if place == len(rows):
            rows.append([])
            free.append(room)
        rows[place].append(item)
        free[place] -= lengths[item]
    return [sorted(row) for row in rows]


def _sequence(segments: Sequence[Sequence[int]], patches: int, image_token: int | None) -> tuple[list[int], list[int], list[int]]:
    """Ids, segment numbers and labels of one pair; its image belongs to the first segment."""
    image = [image_token] * patches if image_token is not None else []
    text = [token for segment in segments for token in segment]
    numbers = [1] * len(image) + [number for number, segment in enumerate(segments, 1) for _ in segment]
    return [*image, *text], numbers, [IGNORED] * len(image) + text


def _numbered(pairs: Sequence[Sequence[int]]) -> list[int]:
    """Segment numbers that go on from pair to pair."""
    numbers: list[int] = []
    for pair in pairs:
        last = numbers[-1] if numbers else 0
        numbers += [last + number for number in pair]
    return numbers
