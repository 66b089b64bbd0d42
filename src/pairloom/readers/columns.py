"""Which columns of a table are the image, the text and the key, and the row that a record of values makes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pairloom.batch import Row
from pairloom.errors import Reject, UsageError
from pairloom.readers.cells import decode_text, extra_of, image_cell, is_web, make_row, texts_of
from pairloom.readers.model import ReadOptions, printable, shown

IMAGE = (
    *("image", "image_path", "img", "img_path", "filepath", "file_path", "file_name", "filename", "path"),
    *("jpg", "jpeg", "png", "webp", "image_file", "image_filename", "image_name", "picture", "photo"),
)
TEXT = ("text", "caption", "captions", "title", "alt", "txt", "texts", "description", "alt_text", "sentence", "sentences")
KEY = ("id", "key", "__key__", "uid", "sample_id", "image_id")
URL = ("url", "image_url", "img_url", "image_link")
"""Usual names, in lower case; the first that a table has counts. Those of URLs count where they are fetched."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that mean something."""

    image: str
    text: str
    key: str | None


def find_columns(names: Iterable[str], options: ReadOptions, table: str) -> Columns:
    """The columns by the names the caller gives, else by the usual ones."""
    there = list(dict.fromkeys(names))
    image = _find(there, options.image_column, IMAGE if options.fetch == "no" else (*URL, *IMAGE))
    text = _find([name for name in there if options.text_column or name != image], options.text_column, TEXT)
    if image is None or text is None:
        asked, flag = (options.image_column, "--image-column") if image is None else (options.text_column, "--text-column")
        what = "image" if image is None else "text"
        problem = f"no column {asked!r}" if asked else f"no {what} column with a usual name"
        columns = ", ".join(printable(name) for name in there) or "none"
        known = f"{shown(table)} has {problem}; its columns are: {columns}."
        raise UsageError(f"{known} Name the {what} column with {flag}.{_hint(there) if image is None else ''}")
    key = _find([name for name in there if name not in (image, text)], None, KEY)
    return Columns(image, text, key)


def _hint(names: list[str]) -> str:
    url = _find(names, None, URL)
    if url is None:
        return ""
    return f" Images that are named by URL, as in {printable(url)}, are fetched with --fetch public."


def _find(names: list[str], asked: str | None, usual: tuple[str, ...]) -> str | None:
    if asked is not None:
        return asked if asked in names else None
    lowered: dict[str, str] = {}
    for name in names:
        lowered.setdefault(name.strip().lower(), name)
    return next((lowered[name] for name in usual if name in lowered), None)


def key_of(values: Mapping[str, object], columns: Columns) -> str | None:
    """The key that the table itself gives the row, if it does."""
    value = values.get(columns.key) if columns.key is not None else None
    if isinstance(value, str) and value:
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def table_row(
    values: Mapping[str, object], columns: Columns, number: int, table: str, repeated: bool, options: ReadOptions
) -> Row:
    """The row of one record; a value that is a `Reject` is a cell that couldn't be read."""

    def cell(name: str) -> object:
        value = values.get(name)
        if isinstance(value, Reject):
            raise value
        return value

    def image() -> bytes:
        return image_cell(cell(columns.image), folder_of(table))

    def texts() -> tuple[str, ...]:
        value = cell(columns.text)
        # Some writers of Parquet forget to say that their strings are text.
        return texts_of(decode_text(value, options.encoding) if isinstance(value, bytes) else value)

    link = values.get(columns.image)
    if options.fetch != "no" and is_web(link):
        row = table_row({**values, columns.image: b""}, columns, number, table, repeated, options)
        return replace(row, source_key=shown(key_of(values, columns) or str(link)), image=None, url=str(link))
    reject = Reject("duplicate_key", "an earlier row has the same key") if repeated else None
    key = key_of(values, columns) or _image_name(values.get(columns.image)) or str(number)
    extra = extra_of(values, (columns.image, columns.text, columns.key))
    return make_row(key, table, image, texts, extra, reject)


def broken_row(number: int, table: str, reject: Reject) -> Row:
    """A row of which nothing could be read."""
    return Row(str(number), shown(table), reject=reject)


def _image_name(value: object) -> str | None:
    """The path of an image, which serves as the key where there is none."""
    if isinstance(value, dict):
        value = value.get("path")
    return value if isinstance(value, str) and value else None


def folder_of(table: str) -> str:
    """The folder that image paths are relative to."""
    return os.path.dirname(table.removeprefix("file://"))  # noqa: PTH120 - pathlib would change odd names
