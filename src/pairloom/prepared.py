"""A finished output in a program: how many pairs, any one of them, those that a column of the ledger chooses, and a look."""

from __future__ import annotations

import io
import tarfile
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from pairloom.batch import Pixels
from pairloom.errors import RunError, UsageError
from pairloom.finished import Finished
from pairloom.readers.webdataset import TarHeader
from pairloom.remote import Place
from pairloom.writers.ledger import read_schema, read_tables
from pairloom.writers.shard import data_name

_SHOWN = 6


@dataclass(frozen=True)
class PreparedPair:
    """One stored pair: the encoded `image`, the `text` that a trainer reads, and its `row` of the ledger."""

    key: str
    text: str
    image: bytes = field(repr=False)
    row: dict[str, Any] = field(repr=False)

    @cached_property
    def pixels(self) -> Pixels:
        """The image decoded: RGB, uint8, (height, width, 3)."""
        return np.array(Image.open(io.BytesIO(self.image)).convert("RGB"))

    def _repr_html_(self) -> str:
        return Look((self,))._repr_html_()


@dataclass(frozen=True, slots=True)
class Look:
    """Some pairs as a page: a notebook shows it, `save` writes it."""

    pairs: tuple[PreparedPair, ...]

    def to_html(self) -> str:
        """A page that needs nothing else."""
        from pairloom.report.page import page
        from pairloom.report.pictures import thumbnail

        return page("pairs.html.j2", pairs=[thumbnail(pair.row, pair.image) for pair in self.pairs])

    def save(self, path: str | Path) -> None:
        """Write the page."""
        from pairloom.report.page import whole_bytes
        from pairloom.writers.parts import write_whole

        write_whole(Path(path), whole_bytes(self.to_html()))

    def _repr_html_(self) -> str:
        from pairloom.report.page import framed

        return framed(self.to_html(), 24 if len(self.pairs) < 5 else 40)


class Prepared(Sequence[PreparedPair]):
    """The pairs of an output in their order. Nothing is read before it is asked for; only a few row groups are kept."""

    def __init__(self, run: Finished, places: npt.NDArray[np.int64] | None = None) -> None:
        """`places` are the numbers of those pairs that count, all of them if it is left out."""
        self._run = run
        self._ends = list(accumulate(run.pairs.values()))
        self._places = np.arange(self._ends[-1] if self._ends else 0) if places is None else places
        self._group = lru_cache(4)(self._read_group)
        self._members = lru_cache(64)(self._read_members)

    @property
    def columns(self) -> list[str]:
        """The columns of the ledger."""
        return [] if not self._run.pairs else read_schema(self._run.ledger(self._run.shards[0])).names

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> PreparedPair: ...
    @overload
    def __getitem__(self, place: slice) -> Prepared: ...
    def __getitem__(self, place: int | slice) -> PreparedPair | Prepared:
        if isinstance(place, slice):
            return Prepared(self._run, self._places[place])
        number = int(self._places[place])
        shard = bisect_right(self._ends, number)
        return self._pair(self._run.shards[shard], number - (self._ends[shard - 1] if shard else 0))

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the ledger for the pairs that count; `geometry.lost` names a field of a struct.

        Raises:
            UsageError: if there is no such column.
        """
        if not self.columns:
            return pa.chunked_array([], pa.null())
        root = name.partition(".")[0]
        none = read_schema(self._run.ledger(self._run.shards[0])).empty_table()
        if name not in {*none.column_names, *none.flatten().column_names}:
            raise UsageError(f"the ledger has no column {name!r}; there are {', '.join(self.columns)}")
        none = none.select([root])
        tables = [none, *(table for index in self._run.shards for table in read_tables(self._run.ledger(index), [root]))]
        table = pa.concat_tables(each.flatten() if "." in name else each for each in tables)
        return table[name].take(pa.array(self._places))

    def filter(self, **wanted: Any) -> Prepared:
        """The pairs whose columns are as wanted: a value, one of several (list or set), or from `(low, high)`, None for no end.

        `pairs.filter(language="zh", alignment=(0.2, None))`; a pair without a value is never chosen.

        Raises:
            UsageError: if there is no such column.
        """
        chosen = np.ones(len(self), bool)
        for name, value in wanted.items():
            chosen &= pc.fill_null(_fits(self.column(name), value), False).to_numpy()
        return Prepared(self._run, self._places[chosen])

    def show(self, count: int = 12) -> Look:
        """The first `count` pairs as a page; as the last value of a notebook's cell it is shown there."""
        return Look(tuple(self[:count]))

    def __repr__(self) -> str:
        return f"<{len(self):,} prepared pairs in {self._run.path}>"

    def _repr_html_(self) -> str:
        return self.show(_SHOWN)._repr_html_()

    def _pair(self, index: int, number: int) -> PreparedPair:
        row = self._row(self._run.ledger(index), number)
        text = row["text"] if row.get("caption") is None else row["caption"]
        return PreparedPair(row["key"], text, self._image(index, number, row["key"]), row)

    def _row(self, path: Place, number: int) -> dict[str, Any]:
        edges = self._members(path)
        group = bisect_right(edges, number) - 1
        [row] = self._group(path, group).slice(number - edges[group], 1).to_pylist()
        return dict(row)

    def _image(self, index: int, number: int, key: str) -> bytes:
        path = self._run.root / data_name(index, self._run.format)
        if path.suffix == ".parquet":
            row = self._row(path, number)
            found, data = row["key"], bytes(row["image"]["bytes"])
        else:
            found, place, size = self._members(path)[number]
            with path.open("rb") as file:
                file.seek(place)
                data = file.read(size)
        if found != key:
            raise RunError(f"shard {index} of {self._run.path} is not what its ledger says; `pairloom verify` tells more")
        return data

    def _read_group(self, path: Place, group: int) -> pa.Table:
        with path.open("rb") as file:
            return pq.ParquetFile(file, pre_buffer=False).read_row_group(group, use_threads=False)

    def _read_members(self, path: Place) -> list[Any]:
        """Where things are: of a Parquet file the first row of each group, of a tar key, offset and size of each image."""
        if path.suffix == ".parquet":
            with path.open("rb") as file:
                about = pq.read_metadata(file)
            return [0, *accumulate(about.row_group(group).num_rows for group in range(about.num_row_groups))]
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:", tarinfo=TarHeader) as tar:
            images = (member for member in tar if not member.name.endswith((".json", ".txt")))
            return [(member.name.partition(".")[0], member.offset_data, member.size) for member in images]


def open_output(output: str | Path) -> Prepared:
    """Open the folder of a finished run.

    Raises:
        UsageError: if there is no output of Pairloom.
        RunError: if the run has not ended.
    """
    run = Finished.read(output)
    if not run.complete:
        raise RunError(f"{output} is not complete: run it to its end first")
    return Prepared(run)


def _fits(column: pa.ChunkedArray, value: Any) -> pa.ChunkedArray:
    if isinstance(value, tuple):
        low, high = value
        fits = column.is_valid()
        fits = fits if low is None else pc.and_kleene(fits, pc.greater_equal(column, low))
        return fits if high is None else pc.and_kleene(fits, pc.less_equal(column, high))
    if isinstance(value, Collection) and not isinstance(value, str | bytes):
        return pc.is_in(column, value_set=pa.array(list(value), column.type))
    return pc.equal(column, value)
