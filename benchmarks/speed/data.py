"""What the suite works on: photographs, texts and pairs from Debian packages, the same on every machine; or own files."""

from __future__ import annotations

import glob
import itertools
import json
import random
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
from datasets import build
from packages import fetch_debian
from PIL import Image
from sources import all_sources

from pairloom.tokenizer import CONTEXT, load_tokenizer
from speed import pictures, texts

PHOTOGRAPHS = {"mate-backgrounds": "nature/*.jpg", "lomiri-wallpapers-16.04": "*.jpg"}
LARGE = (4e6, 12.5e6)  # pixels
MOST = 25e6
DISTINCT = 1000  # photographs of the pairs
LONG = {"en": 500, "zh": 150}  # characters of a long text at the least: more than 77 tokens
TOKENIZERS = {"en": "clip", "zh": "chinese-clip"}
MANUALS = {"en": ("gimp-en",), "zh": ("gimp-zh", "handbook-zh", "kicad-zh")}


class Data:
    """Folders under `home`, each made when it is first asked for. `photos` and `large` are globs of own files, tars too."""

    def __init__(self, home: Path, photos: Sequence[str] = (), large: Sequence[str] = ()) -> None:
        self.home, self.cache = home, home / "packages"
        self.own = {"photos": photos, "large": large}

    def photos(self, count: int = 120) -> Path:
        """Photographs of about 0.9 MP."""
        own = _found(self.own["photos"])[:count]
        return self._folder(f"photos-{count}", own, lambda: own or pictures.cuts(self._originals(), count))

    def large(self) -> Path:
        """Photographs of 4 to 12 MP as they are."""
        own = _found(self.own["large"])
        return self._folder("large", own, lambda: own or (path.read_bytes() for path in self._originals() if _is_large(path)))

    def texts(self, language: str, count: int = 300) -> Path:
        """Long texts of manuals, and what contenders need beside them."""
        folder = self.home / f"texts-{language}"
        if not (folder / texts.TEXTS).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            named = [source for source in all_sources() if source.name in MANUALS[language]]
            found = [pair.text for source in named for pair in source.pairs(self.cache) if len(pair.text) >= LONG[language]]
            random.Random(0).shuffle(found)
            rules = {"language": language, "tokenizer": TOKENIZERS[language], "max_tokens": CONTEXT[TOKENIZERS[language]]}
            (folder / texts.TOKENIZER).write_text(load_tokenizer(TOKENIZERS[language]).to_str(), "utf-8")
            (folder / texts.RULES).write_text(json.dumps(rules), "utf-8")
            (folder / texts.TEXTS).write_text(json.dumps(found[:count]), "utf-8")
        return folder

    def pairs(self, count: int) -> Path:
        """Photographs, each several times with another text: a folder as `pairloom run` reads it, and beside it
        `NAME.parquet` for img2dataset."""
        folder = self.home / f"pairs-{count}"
        table = folder.with_suffix(".parquet")
        if not table.is_file():
            said = json.loads((self.texts("en") / texts.TEXTS).read_text("utf-8"))
            shown = sorted(self.photos(min(count, DISTINCT)).glob("*.jpg"))
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            urls, captions = [], [f"{said[number % len(said)]} {number}" for number in range(count)]
            for number, caption in enumerate(captions):
                path = folder / f"{number:06d}.jpg"
                path.hardlink_to(shown[number % len(shown)])
                path.with_suffix(".txt").write_text(caption, "utf-8")
                urls.append(path.resolve().as_uri())
            parquet.write_table(pa.table({"url": urls, "caption": captions}), table)
        return folder

    def clipart(self) -> Path:
        """All of Open Clip Art, as `datasets.py` builds it."""
        folder = self.home / "openclipart"
        if not folder.is_dir():
            source = next(one for one in all_sources() if one.name == "openclipart")
            build(source, self.home, "webdataset")
        return folder

    def drawings(self, count: int = 120) -> Path:
        """Some of the PNG files of Open Clip Art, of all kinds and sizes up to 25 megapixels."""

        def some() -> Iterator[bytes]:
            files = [data for data in _found([f"{self.clipart()}/*.tar"]) if data.startswith(b"\x89PNG")]
            fit = (data for data in files if int.from_bytes(data[16:20]) * int.from_bytes(data[20:24]) <= MOST)
            yield from itertools.islice(fit, count)

        return self._folder(f"drawings-{count}", (), some, ".png")

    def _folder(self, name: str, own: Sequence[bytes], made: Callable[[], Iterable[bytes]], suffix: str = ".jpg") -> Path:
        folder = self.home / name
        mark = folder / ".complete"
        if own or not mark.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for number, data in enumerate(made()):
                (folder / f"{number:05d}{suffix}").write_bytes(data)
            mark.touch()
        return folder

    def _originals(self) -> list[Path]:
        """The photographs of the packages, links left out."""
        found = [path for name, glob_ in PHOTOGRAPHS.items() for path in sorted(fetch_debian(name, self.cache).rglob(glob_))]
        return [path for path in found if not path.is_symlink() and min(Image.open(path).size) >= 1000]


def _is_large(path: Path) -> bool:
    width, height = Image.open(path).size
    return LARGE[0] <= width * height <= LARGE[1]


def _found(patterns: Sequence[str]) -> list[bytes]:
    """The images of files and tars, shuffled by a fixed seed."""
    found: list[bytes] = []
    for path in sorted(path for pattern in patterns for path in map(Path, glob.glob(pattern))):  # noqa: PTH207 - any pattern
        if path.suffix == ".tar":
            with tarfile.open(path) as archive:
                members = [member for member in archive if Path(member.name).suffix.lower() in pictures.SUFFIXES]
                found += [archive.extractfile(member).read() for member in members]  # type: ignore[union-attr]
        elif path.suffix.lower() in pictures.SUFFIXES:
            found.append(path.read_bytes())
    random.Random(0).shuffle(found)
    return found
