"""The classifier of languages.

Its package holds the model packed so tightly that unpacking takes 0.4 s in every process that loads it. Zstandard takes a tenth
of that, and half as much room again: in that form the model is kept.
"""

from __future__ import annotations

import functools
import hashlib
from array import array
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from pairloom.cache import user_cache
from pairloom.writers.parts import write_whole

_DIGEST = 32  # bytes before the table: a damaged model would tell other languages without a word


@functools.cache
def identifier() -> Any:
    """py3langid's `LanguageIdentifier` with its own model, giving probabilities."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    path = user_cache() / "languages" / f"py3langid-{version('py3langid')}.arrow"
    with suppress(OSError, ValueError, KeyError):  # not there, or not as it was written
        return LanguageIdentifier(**_unpacked(path.read_bytes()), norm_probs=True)
    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    with suppress(OSError):  # a cache that can't be written costs time only
        write_whole(path, _packed(made))
    return made


def _packed(made: Any) -> bytes:
    """What the classifier is made of, by the names that it takes it under, as the one row of an Arrow file."""
    arrays = {name: np.asarray(getattr(made, name)) for name in ("nb_ptc", "nb_pc", "tk_nextmove", "tk_row", "tk_output")}
    columns = {name: pa.array([values.ravel()]) for name, values in arrays.items()}
    table = pa.table({**columns, "nb_classes": pa.array([made.nb_classes])})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=3))
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return hashlib.sha256(data).digest() + data


def _unpacked(data: bytes) -> dict[str, Any]:
    """The arguments of the classifier. Raises `ValueError` if anything is amiss."""
    digest, packed = data[:_DIGEST], data[_DIGEST:]
    if hashlib.sha256(packed).digest() != digest:
        raise ValueError("not as it was written")
    table = pa.ipc.open_file(packed).read_all()
    found = {name: table[name].chunk(0).values for name in table.column_names}
    return {
        "nb_ptc": found["nb_ptc"].to_numpy().reshape(-1, len(found["nb_pc"])),
        "nb_pc": found["nb_pc"].to_numpy(),
        "nb_classes": found["nb_classes"].to_pylist(),
        "tk_nextmove": _quick(found["tk_nextmove"].to_numpy()),
        "tk_row": _quick(found["tk_row"].to_numpy()),
        "tk_output": found["tk_output"].to_numpy().tolist(),
    }


def _quick(values: Any) -> array[int]:
    """An array of Python's own, whose single elements are got at faster than NumPy's."""
    made = array(values.dtype.char)
    made.frombytes(memoryview(values).cast("B"))
    return made
