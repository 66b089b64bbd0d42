"""From files and cells to the values of a row, with the limits that keep one hostile pair from taking the machine down."""

from __future__ import annotations

import codecs
import json
import os
import posixpath
import re
import stat
import unicodedata
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from pairloom.batch import Row
from pairloom.errors import Reject
from pairloom.readers.model import printable, shown
from pairloom.remote import Remote, is_url
from pairloom.remote.retry import Unreachable

MAX_IMAGE_BYTES = 256 << 20
MAX_TEXT_BYTES = 8 << 20

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
"""The suffixes of images, in lower case."""

JSON_TEXTS = ("caption", "text", "title", "alt")
"""The fields of a JSON sidecar that may hold the text; the first that is there counts."""

_BEYOND_TWO_BYTES = re.compile("[^\0-\u07ff]")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True).encode
_ENCODING = "not valid {}; give --encoding, for example gb18030"


def make_row(
    source_key: str,
    source: str,
    image: Callable[[], bytes],
    texts: Callable[[], tuple[str, ...]],
    extra: str = "{}",
    reject: Reject | None = None,
) -> Row:
    """A row of two readers that may each raise `Reject`; the first reason counts, and what could be read is kept."""
    data: bytes | None = None
    found: tuple[str, ...] = ()
    try:
        data = image()
    except Reject as reason:
        reject = reject or reason.bare()
    try:
        found = texts()
    except Reject as reason:
        reject = reject or reason.bare()
    return Row(shown(source_key), shown(source), data, found, extra, reject)


def read_file(path: str, limit: int, missing: str, size: int | None = None) -> bytes:
    """All bytes of a regular file of at most `limit` bytes; `missing` is the reason code when there is none.

    Behind a URL `size`, if it is known, spares a request. Raises `Unreachable` where a server may answer another time.
    """
    if is_url(path):
        return _read_remote(path, limit, missing, size)
    try:
        place = Path(path)
        status = place.stat()
        # Opening a pipe or a device could block for ever.
        if not stat.S_ISREG(status.st_mode):
            raise Reject("unreadable", "not a regular file")
        check_size(status.st_size, limit)
        with place.open("rb") as file:
            data = file.read(status.st_size + 1)  # memory for all of the limit would cost more than the reading
            if len(data) > status.st_size:  # it has grown in between
                data += file.read(limit + 1 - len(data))
    except (FileNotFoundError, NotADirectoryError):
        raise Reject(missing, f"no such file: {shown(path)}") from None
    except OSError as error:
        raise Reject("unreadable", f"{shown(path)}: {error.strerror}") from None
    except ValueError as error:  # a NUL character in the name, or one that the file system can't encode
        raise Reject(missing, f"not a file name: {error}".encode(errors="backslashreplace").decode()) from None
    check_size(len(data), limit)
    return data


def _read_remote(url: str, limit: int, missing: str, size: int | None) -> bytes:
    if "::" in url.partition("://")[2]:
        raise Reject("unreadable", f"{shown(url)}: a name with :: can't be asked for")
    place = Remote(url)
    try:
        size = place.stat().st_size if size is None else size
        check_size(size, limit)
        with place.open(size=size) as file:
            return file.read()
    except FileNotFoundError:
        raise Reject(missing, f"no such file: {shown(url)}") from None
    except Unreachable:  # the shard stays undone: the pair may be there tomorrow
        raise
    except OSError as error:
        raise Reject("unreadable", f"{error.strerror}") from None


def read_image(path: str, size: int | None = None) -> bytes:
    """The bytes of an image file, not decoded."""
    return read_file(path, MAX_IMAGE_BYTES, "missing_image", size)


def check_size(size: int, limit: int) -> None:
    """Reject what is too large, before it is read where possible."""
    if size > limit:
        raise Reject("too_many_bytes", f"{size} bytes, at most {limit} are read")


def decode_text(data: bytes, encoding: str) -> str:
    """Bytes to text, strictly; byte order marks are honoured before `encoding`."""
    if data.startswith(codecs.BOM_UTF8):
        data, encoding = data[3:], "utf-8"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    return strict_text(data, encoding)


def strict_text(data: bytes, encoding: str) -> str:
    """Bytes to text, strictly; a few Chinese characters in GBK that happen to be valid UTF-8 are told apart where possible."""
    try:
        text = data.decode(encoding)
    except UnicodeError:
        raise text_encoding(encoding) from None
    if (
        not text.isascii()
        and not _BEYOND_TWO_BYTES.search(text)
        and codecs.lookup(encoding).name == "utf-8"
        and _is_chance(data, text)
    ):
        raise text_encoding(encoding)
    return text


def _is_chance(data: bytes, text: str) -> bool:
    """Whether letters of different scripts stand side by side, as in no language, and GB2312 makes nothing but Han of them."""
    scripts = [_script(letter) for letter in text]
    if not any(one and other and one != other for one, other in pairwise(scripts)):
        return False
    try:
        chinese = data.decode("gb2312")
    except UnicodeError:
        return False
    return all(letter.isascii() or "\u3000" <= letter <= "\u9fff" or letter >= "\uff00" for letter in chinese)


def _script(letter: str) -> str:
    """The script of a letter that isn't ASCII, else an empty text; marks that go with any script have none."""
    if letter < "\u00c0" or unicodedata.category(letter)[0] not in "LM":
        return ""
    name = unicodedata.name(letter, "UNKNOWN").split(maxsplit=1)[0]
    return "" if name in ("COMBINING", "MODIFIER") else name


def text_encoding(encoding: str) -> Reject:
    """The rejection of a text that isn't valid in `encoding`."""
    return Reject("text_encoding", _ENCODING.format(encoding.upper()))


def texts_of(value: object) -> tuple[str, ...]:
    """The captions of a cell: a string, or a list of strings whose null and empty ones are dropped."""
    if value is None:
        raise Reject("missing_text", "the text is null")
    values = value if isinstance(value, list | tuple) else [value]
    texts = []
    for each in values:
        if each is None:
            continue
        if not isinstance(each, str):
            raise Reject("mistyped_cell", f"the text is of type {type(each).__name__}")
        if "\0" in each:
            raise Reject("text_encoding", "a NUL character, which no text holds")
        if each.strip():
            texts.append(each)
    if not texts:
        raise Reject("empty_text" if any(isinstance(each, str) for each in values) else "missing_text", "there is no text")
    try:
        check_size(sum(len(each.encode()) for each in texts), MAX_TEXT_BYTES)
    except UnicodeEncodeError:
        raise Reject("text_encoding", "a lone surrogate, which is no character") from None
    return tuple(texts)


def parse_json(text: str, code: str = "broken_json") -> dict[str, Any]:
    """A JSON object, or a rejection with the given code."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Reject(code, f"not JSON: {printable(str(error))}") from None
    if not isinstance(value, dict):
        raise Reject(code, "JSON, but not an object")
    return value


def json_texts(value: Mapping[str, Any]) -> tuple[str, ...]:
    """The captions of a JSON sidecar."""
    for name in JSON_TEXTS:
        if value.get(name) is not None:
            return texts_of(value[name])
    raise Reject("missing_text", f"the JSON has none of the fields {', '.join(JSON_TEXTS)}")


def extra_of(values: Mapping[str, Any], without: tuple[str | None, ...] = ()) -> str:
    """The other fields as a JSON object in UTF-8; what JSON can't hold (NaN, lone surrogates, bytes) is left out."""
    others = {name: value for name, value in values.items() if name not in without}
    whole = _json(others)
    if whole is not None:
        return whole
    parts = [_json({name: others[name]}) for name in sorted(others)]
    return "{" + ", ".join(part[1:-1] for part in parts if part is not None) + "}"


def _json(values: Mapping[str, Any]) -> str | None:
    try:
        text = _encode(values)
        text.encode()
    except (ValueError, TypeError, RecursionError):
        return None
    return text


def is_web(name: object) -> bool:
    """Whether a cell holds the URL of something on the web."""
    return isinstance(name, str) and name.lower().startswith(("http://", "https://"))


def image_cell(value: object, folder: str) -> bytes:
    """The image of a cell: bytes, a path relative to the table's folder, or a dict with either."""
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
        value = data if isinstance(data, bytes) else path if path is not None or data is None else data
        if isinstance(value, str) and value is data:
            raise Reject("mistyped_cell", "the image's bytes are a string")
    if value is None or value == "":
        raise Reject("missing_image", "the image is null or empty")
    if isinstance(value, bytes):
        check_size(len(value), MAX_IMAGE_BYTES)
        return value
    if isinstance(value, str):
        return read_image(path_in(folder, value))
    raise Reject("mistyped_cell", f"the image is of type {type(value).__name__}")


def path_in(folder: str, name: str) -> str:
    """A path that a table or a folder names, relative to its folder. One behind a URL never leads to this machine's files."""
    if not is_url(folder):
        return os.path.join(folder, name)  # noqa: PTH118 - pathlib would change odd names
    scheme, _, place = folder.partition("://")
    whole, root = posixpath.normpath(f"{place}/{name}"), place.partition("/")[0]
    if whole.partition("/")[0] != root:
        raise Reject("missing_image", f"{shown(name)} lies outside {shown(f'{scheme}://{root}')}")
    return f"{scheme}://{whole}"
