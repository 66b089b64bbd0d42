"""WebDataset shards as img2dataset lays them out: `00000.tar` with an image, a `.json` and a `.txt` a pair.

The tar is plain ustar with fixed owner, mode and time 0, members in sorted order, so that the same pairs give the same
bytes (`webdataset.ShardWriter` writes the current time). Every `.json` has the same keys and types and no nulls, because
Hugging Face `datasets` infers one schema from the first samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa

from pairloom.batch import Batch
from pairloom.errors import RunError
from pairloom.steps.header import suffix_of
from pairloom.writers.parts import Part

_BLOCK = 512
_RECORD = 20 * _BLOCK
_UNSAID = ("image", "reject")

# What is the same in every header: mode and owner, the time, and from the kind of member on all that follows the checksum.
_OWNER, _TIME = b"0000644\x000000000\x000000000\0", b"\x0000000000000\0"
_REST = b"0".ljust(101, b"\0") + b"ustar\x0000".ljust(255, b"\0")
_SAME = sum(_OWNER + _TIME + _REST) + 8 * ord(" ")  # a checksum counts itself as spaces
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class WebDatasetWriter:
    """Writes pairs into one tar, in the order given. Without a `suffix` each image has that of its own format."""

    def __init__(self, file: Part, suffix: str | None) -> None:
        self._file = file
        self._suffix = suffix

    def write(self, batch: Batch) -> None:
        """Append the pairs of a batch; `image` must hold encoded bytes."""
        columns = [name for name in batch.table.column_names if name not in _UNSAID]
        blanks = {name: _blank(batch.table.schema.field(name).type) for name in columns}
        images, texts = batch["image"], final_texts(batch)
        for row, values in enumerate(batch.table.select(columns).to_pylist()):
            said = {name: blanks[name] if value is None else value for name, value in values.items()}
            members = {
                self._suffix or suffix_of(images[row]): images[row],
                "json": _encode(said).encode(),
                "txt": texts[row].encode(),
            }
            pieces: list[bytes] = []
            for suffix, data in sorted(members.items()):
                pieces += (_header(f"{values['key']}.{suffix}", len(data)), data, bytes(-len(data) % _BLOCK))
            self._file.write(b"".join(pieces))

    def close(self) -> None:
        """Write the end of the archive."""
        size = self._file.size + 2 * _BLOCK
        self._file.write(bytes(2 * _BLOCK + -size % _RECORD))


def members(file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """The members of a tar that was written here, each by name, with where its header begins and where the next one does.

    Raises:
        RunError: if it is damaged.
    """
    end = 0
    while True:
        start = end
        file.seek(start)
        header = file.read(_BLOCK)
        if header == bytes(_BLOCK):
            return
        try:
            name, size = header[:100].rstrip(b"\0").decode("ascii"), int(header[124:135], 8)
        except ValueError:
            name, size = "", 0
        if _header(name, size) != header:
            raise RunError(f"a shard is not as it was written, from byte {start} on; `pairloom verify` tells which")
        end = start + _BLOCK + -(-size // _BLOCK) * _BLOCK
        yield name, start, end


def final_texts(batch: Batch) -> list[str]:
    """The text that a trainer reads: `caption` where a step wrote one, else `text`."""
    return batch["caption"] if "caption" in batch.table.column_names else batch["text"]


def _header(name: str, size: int) -> bytes:
    # Own header instead of tarfile's: three of them a pair would cost more than all else that writing does.
    if size >= 8**11:
        raise ValueError(f"{name} is too large for a tar member")
    said, length = name.encode("ascii"), b"%011o" % size
    total = _SAME + sum(said) + sum(length)
    return b"".join((said.ljust(100, b"\0"), _OWNER, length, _TIME, b"%06o\0 " % total, _REST))


def _blank(kind: pa.DataType) -> Any:
    """The value of a type that stands for nothing."""
    if pa.types.is_list(kind):
        return []
    if pa.types.is_struct(kind):
        return {field.name: _blank(field.type) for field in kind}
    if pa.types.is_floating(kind):
        return 0.0
    if pa.types.is_integer(kind):
        return 0
    return False if pa.types.is_boolean(kind) else ""
