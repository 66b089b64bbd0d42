"""The bank: unrelated images and prose by which a model tells what text is informative, and what it finds in any image.

About 256 small openly licensed images come with Pairloom; `data/bank/bank.csv` says what they are. So do sentences in English and
Chinese that describe nothing that can be seen, in `data/prose`. A model embeds them once.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pairloom.alignment.bank import BankVectors
from pairloom.batch import Pixels
from pairloom.cache import user_cache
from pairloom.errors import UsageError
from pairloom.models.model import Model
from pairloom.models.transform import Array
from pairloom.writers.parts import write_whole

BANK = Path(__file__).parents[1] / "data" / "bank"
PROSE = Path(__file__).parents[1] / "data" / "prose"
_OWN = "prose.txt"  # in a folder of images, to take the place of our sentences
_READY = BANK / "embedded"  # what the shipped model makes of the shipped bank
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_FEWEST = 16  # a deviation over less says little
_MOST = 4096
_LANGUAGES = ("en", "zh")


@functools.cache
def bank_digest(folder: str | None = None) -> str:
    """SHA-256 of the images and the prose of a bank, None being the one that ships.

    Raises:
        UsageError: if the folder holds fewer than 16 images, or more than 4,096, or a `prose.txt` of so few or many lines.
    """
    paths = _paths(folder)
    if not _FEWEST <= len(paths) <= _MOST:
        raise UsageError(f"a bank needs {_FEWEST} to {_MOST:,} images ({', '.join(_SUFFIXES)}); {folder} holds {len(paths)}")
    each = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    each += [hashlib.sha256("\n".join(_prose(folder, language)).encode("utf-8")).hexdigest() for language in _LANGUAGES]
    return hashlib.sha256("".join(each).encode()).hexdigest()


@functools.lru_cache(maxsize=4)
def embed_bank(model: Model, folder: str | None = None) -> BankVectors:
    """The bank's embeddings by `model`, float32, L2-normalised; computed once and kept in the user's cache.

    Of our prose it is the languages that the model's settings name, English if they name none.

    Raises:
        UsageError: if the folder is no bank, or an image in it can't be read.
    """
    name, images = _name(model, folder), len(_paths(folder))
    for place in (_READY, user_cache() / "bank"):
        with suppress(OSError, ValueError, EOFError):  # not there, or cut off: embed it again
            found: Array = np.load(place / name, allow_pickle=False)
            return BankVectors(found[:images], found[images:])
    embedded = _computed(model, folder)
    with suppress(OSError):  # a cache that can't be written costs time only
        write_whole(user_cache() / "bank" / name, _packed(embedded))
    return BankVectors(embedded[:images], embedded[images:])


def keep_ready(model: Model) -> None:
    """Embed the bank that ships and write the result into the package, where `embed_bank` looks first."""
    for old in _READY.glob("*.npy"):
        old.unlink()
    write_whole(_READY / _name(model, None), _packed(_computed(model, None)))


def _computed(model: Model, folder: str | None) -> Array:
    said = [line for language in _spoken(model) for line in _prose(folder, language)]
    embedded = np.concatenate([model.embed_images(list(_images(folder))), model.embed_texts(list(dict.fromkeys(said)))])
    if not np.isfinite(embedded).all():
        raise UsageError(f"{model.name} gave an embedding of the bank that is no number")
    return embedded


def _name(model: Model, folder: str | None) -> str:
    said = f"{model.fingerprint} {bank_digest(folder)} {_spoken(model)}"
    return hashlib.sha256(said.encode()).hexdigest()[:32] + ".npy"


def _spoken(model: Model) -> list[str]:
    """The languages of our prose that the model is asked to read."""
    return [language for language in _LANGUAGES if language in model.languages] or ["en"]


def _packed(embedded: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, embedded, allow_pickle=False)
    return buffer.getvalue()


def _paths(folder: str | None) -> list[Path]:
    place = Path(folder) if folder else BANK
    try:
        return sorted(path for path in place.iterdir() if path.suffix.lower() in _SUFFIXES)
    except OSError as fault:
        raise UsageError(f"the bank {place} can't be listed: {fault.strerror}") from None


@functools.cache
def _prose(folder: str | None, language: str) -> tuple[str, ...]:
    """Our sentences of a language, or those of the folder, whatever theirs is."""
    own = Path(folder) / _OWN if folder else None
    path = own if own and own.is_file() else PROSE / f"{language}.txt"
    try:
        lines = tuple(line for line in path.read_text("utf-8").splitlines() if line.strip())
    except (OSError, ValueError) as fault:
        raise UsageError(f"{path} can't be read: {fault}") from None
    if not _FEWEST <= len(lines) <= _MOST:
        raise UsageError(f"{path} needs {_FEWEST} to {_MOST:,} sentences that describe no image, one a line; it has {len(lines)}")
    return lines


def _images(folder: str | None) -> Iterator[Pixels]:
    for path in _paths(folder):
        try:
            with Image.open(path) as image:
                yield np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
            raise UsageError(f"{path} can't be read: {fault}") from None
