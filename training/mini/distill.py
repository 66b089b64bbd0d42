"""Teach a small bilingual text tower what an English sentence encoder knows.

The student is every other layer of multilingual-e5-small over the English and Chinese part of its vocabulary. The teacher is
all-MiniLM-L6-v2 (Apache-2.0). An English text and its Chinese translation shall both land where the teacher puts the English text
(Reimers and Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation").
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from texts import Text
from tokenizer import build_tokenizer, choose_pieces
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from towers import Array, E5File, TextTower, text_tower

LAYERS, PIECES, POSITIONS, LONGEST, DIMENSION = [0, 2, 4, 6, 8, 11], 32_000, 128, 48, 384
BATCH, RATE, TEMPERATURE = 128, 4e-4, 0.05


def minilm(folder: Path) -> tuple[TextTower, Tokenizer]:
    """The teacher out of its package's safetensors file, and its tokenizer."""
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    tower = TextTower(state["embeddings.word_embeddings.weight"].shape[0], 512, DIMENSION, 12, 1536, 6)
    kind = state["embeddings.token_type_embeddings.weight"][0]
    ours = {"word.weight": state["embeddings.word_embeddings.weight"],
            "position.weight": state["embeddings.position_embeddings.weight"] + kind}  # fmt: skip
    names = {"out": "attention.output.dense", "norm1": "attention.output.LayerNorm", "up": "intermediate.dense",
             "down": "output.dense", "norm2": "output.LayerNorm"}  # fmt: skip
    for end in ("weight", "bias"):
        ours[f"norm.{end}"] = state[f"embeddings.LayerNorm.{end}"]
        for number in range(6):
            prefix = f"encoder.layer.{number}."
            parts = [state[f"{prefix}attention.self.{part}.{end}"] for part in ("query", "key", "value")]
            ours[f"layers.{number}.qkv.{end}"] = torch.cat(parts)
            ours |= {f"layers.{number}.{name}.{end}": state[f"{prefix}{theirs}.{end}"] for name, theirs in names.items()}
    tower.load_state_dict(ours)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    return tower.eval(), tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
    """Token ids of each text, cut to `longest` with the end mark kept."""
    return [
        one.ids if len(one.ids) <= longest else [*one.ids[: longest - 1], one.ids[-1]]
        for one in tokenizer.encode_batch(list(texts))
    ]


def padded(ids: Sequence[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """A batch of token ids and its mask."""
    width = max(map(len, ids))
    rows = torch.tensor([[*row, *[pad] * (width - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    return rows, mask


@torch.no_grad()
def embed(tower: nn.Module, ids: Sequence[list[int]], pad: int, batch: int = 128) -> Array:
    """Normalised embeddings, computed in batches of similar length."""
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    out = np.zeros((len(ids), DIMENSION), np.float32)
    for first in range(0, len(order), batch):
        places = order[first : first + batch]
        with torch.autocast("cpu", torch.bfloat16):
            vectors = tower(*padded([ids[place] for place in places], pad)).float()
        out[places] = functional.normalize(vectors, dim=-1).numpy()
    return out


class Student(nn.Module):
    """The text tower and a linear map into the teacher's space."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        self.tower = tower
        self.project = nn.Linear(DIMENSION, DIMENSION)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(m, l) token ids and their mask to (m, 384), not normalised."""
        return self.project(self.tower(ids, mask))


def new_student(source: E5File, texts: Sequence[Text]) -> tuple[Student, Tokenizer, list[int]]:
    """An untrained student, its tokenizer, and the numbers of the pieces it keeps."""
    keep = choose_pieces(source, [part for text in texts for part in text if part], PIECES)
    tokenizer = build_tokenizer([source.pieces[number] for number in keep], [source.scores[number] for number in keep])
    return Student(text_tower(source, keep, LAYERS, POSITIONS)), tokenizer, keep


def _batches(lengths: list[int], size: int, draw: random.Random) -> Iterator[list[int]]:
    """Batches of similar length in random order, for ever: padding is work for nothing."""
    while True:
        order = sorted(range(len(lengths)), key=lambda place: lengths[place] + draw.random() * 4)
        groups = [order[first : first + size] for first in range(0, len(order) - size + 1, size)]
        draw.shuffle(groups)
        yield from groups


def fit(student: Student, tokenizer: Tokenizer, texts: Sequence[Text], targets: Array, steps: int, seed: int = 0) -> Student:
    """Train all but the token embeddings; both languages aim at the teacher's vector of the English text."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    rows = [(text[0], place) for place, text in enumerate(texts)] + [
        (text[1], place) for place, text in enumerate(texts) if text[1]
    ]
    ids = encode(tokenizer, [text for text, _ in rows], LONGEST)
    goals = torch.from_numpy(targets)
    student.tower.word.weight.requires_grad_(False)
    weights = [value for value in student.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(weights, RATE, betas=(0.9, 0.98), weight_decay=0.01)
    batches = _batches([len(one) for one in ids], BATCH, draw)
    running: dict[str, Any] = {}
    for step in range(steps):
        share = min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for part in optimiser.param_groups:
            part["lr"] = RATE * share
        places = next(batches)
        goal = goals[[rows[place][1] for place in places]]
        with torch.autocast("cpu", torch.bfloat16):
            found = student(*padded([ids[place] for place in places], 1)).float()
        found = functional.normalize(found, dim=-1)
        same = 1 - (found * goal).sum(-1).mean()
        logits, wanted = found @ goal.T / TEMPERATURE, goal @ goal.T / TEMPERATURE
        relation = functional.kl_div(logits.log_softmax(-1), wanted.softmax(-1), reduction="batchmean")
        loss = 4 * same + relation
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        for name, value in (("cosine", 1 - float(same)), ("relation", float(relation))):
            running[name] = 0.98 * running.get(name, value) + 0.02 * value
        if step % 100 == 99:
            print(f"step {step + 1}: " + ", ".join(f"{name} {value:.4f}" for name, value in running.items()), flush=True)
    return student.eval()
