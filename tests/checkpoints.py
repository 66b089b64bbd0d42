"""Tiny checkpoints of the real transformers classes with random weights, saved as their authors would save them."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "src" / "pairloom" / "data"
KINDS = ("clip", "siglip", "siglip2", "chinese_clip", "altclip")
_SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_VISION = {**_SMALL, "image_size": 32, "patch_size": 8}
_TALK = """A photo of a red cat that sits on a mat. Two dogs run over the green field in the rain, and a child looks at them.
Nothing here says anything about colours; the words are only there to be cut into pieces, some long and some short."""


def checkpoint(kind: str, folder: Path) -> Path:
    """A folder with model, tokenizer and image processor of that kind."""
    model, tokenizer, processor = globals()[f"_{kind}"](folder)
    _spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _spread(model: Any) -> None:
    """Random weights large enough that different inputs give clearly different embeddings."""
    import torch

    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.6)


def clip_tokenizer() -> Any:
    """The real tokenizer of CLIP as transformers wraps it."""
    import transformers as t

    data = json.loads(gzip.decompress((DATA / "clip-tokenizer.json.gz").read_bytes()))["model"]
    begin, end = "<start_of_text>", "<end_of_text>"
    vocab = {**data["vocab"], begin: 49406, end: 49407}
    merges = [tuple(pair) for pair in data["merges"]]
    return t.CLIPTokenizer(vocab, merges, unk_token=end, bos_token=begin, eos_token=end, pad_token=end, model_max_length=77)


def _clip(folder: Path) -> tuple[Any, Any, Any]:
    import transformers as t

    text = {**_SMALL, "vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    model = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=16))
    return model, clip_tokenizer(), t.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def _siglip(folder: Path) -> tuple[Any, Any, Any]:
    import transformers as t

    tokenizer = t.SiglipTokenizer(str(_sentencepiece(folder)), model_max_length=16)
    text = {**_SMALL, "vocab_size": tokenizer.vocab_size, "max_position_embeddings": 16, "projection_size": 32}
    model = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=_VISION))
    return model, tokenizer, t.SiglipImageProcessorPil(size={"height": 32, "width": 32})


def _siglip2(folder: Path) -> tuple[Any, Any, Any]:
    import transformers as t

    letters = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *"abcdefghijklmnopqrstuvwxyz", "▁a", "ca", "cat"]
    vocab = {letter: number for number, letter in enumerate(letters)}
    merges = [("▁", "a"), ("c", "a"), ("ca", "t")]
    tokenizer = t.Siglip2Tokenizer(vocab, merges, model_max_length=16, padding_side="right", model_input_names=["input_ids"])
    text = {**_SMALL, "vocab_size": len(vocab), "max_position_embeddings": 16, "projection_size": 32}
    vision = {**_SMALL, "patch_size": 8, "num_patches": 16}
    model = t.Siglip2Model(t.Siglip2Config(text_config=text, vision_config=vision))
    return model, tokenizer, t.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20)


def _chinese_clip(folder: Path) -> tuple[Any, Any, Any]:
    import transformers as t

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "cat", "##s", *"一只红色的猫在草地上照片"]
    tokenizer = t.BertTokenizer({word: number for number, word in enumerate(dict.fromkeys(words))}, model_max_length=512)
    text = {**_SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": 512}
    model = t.ChineseCLIPModel(t.ChineseCLIPConfig(text_config=text, vision_config=_VISION, projection_dim=16))
    processor = t.ChineseCLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    return model, tokenizer, processor


def _altclip(folder: Path) -> tuple[Any, Any, Any]:
    import transformers as t

    pieces = ["▁a", "▁photo", "▁of", "▁cat", "s", "▁", *"abcdefghijklmnopqrstuvwxyz猫一只"]
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab += [(piece, -float(number) - 1) for number, piece in enumerate(pieces)] + [("<mask>", 0.0)]
    tokenizer = t.XLMRobertaTokenizer(vocab, model_max_length=512)
    text = {**_SMALL, "vocab_size": len(vocab), "max_position_embeddings": 514, "project_dim": 16, "pad_token_id": 1}
    model = t.AltCLIPModel(t.AltCLIPConfig(text_config=text, vision_config=_VISION, projection_dim=16))
    return model, tokenizer, t.CLIPImageProcessorPil(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})


def _sentencepiece(folder: Path) -> Path:
    import sentencepiece

    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_TALK.lower().splitlines()), model_writer=buffer, vocab_size=60,
        hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(buffer.getvalue())
    return folder / "spiece.model"
