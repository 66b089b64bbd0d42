"""A file to a 512 letterbox, as JPEG of quality 95."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from speed.contender import Contender, Make, each
from speed.pictures import Size, fitted, load, psnr, ssim

SIDE, QUALITY = 512, 95
Prepare = Callable[[bytes], Any]

__all__ = ["CONTENDERS", "compare", "load"]


def pairloom() -> Contender:
    """The steps, called as a run calls them."""
    from pairloom.planes import rgb
    from pairloom.steps.decode import Decode
    from pairloom.steps.encode import Encode
    from pairloom.steps.image import Letterbox, draw

    letterbox, encode = Letterbox(size=SIDE), Encode(quality=QUALITY)
    decode: Any = Decode().bind([letterbox, encode])

    def picture(data: bytes) -> Any:
        decoded = decode.image(data)
        return draw(decoded.picture, letterbox.geometry(decoded.width, decoded.height), letterbox.fill)

    stored = encode.image
    return Contender(
        each(lambda data: stored(picture(data))), lambda data: rgb(picture(data)), lambda data: stored(picture(data))
    )


def limit() -> Contender:
    """What Pairloom's libraries need at the least: the scaled decode, the kernel and the encode, all else made beforehand."""
    import simplejpeg

    from pairloom.planes import Planes
    from pairloom.resize import halve, resize
    from pairloom.steps.decode import Decode
    from pairloom.steps.encode import Encode
    from pairloom.steps.image import Letterbox
    from pairloom.steps.jpeg import read_header, read_planes

    letterbox = Letterbox(size=SIDE)
    bound: Any = Decode().bind([letterbox, Encode()])
    canvases = [np.full((SIDE, SIDE), level, np.uint8) for level in (114, 128, 128)]
    known: dict[int, tuple[Any, Size]] = {}

    def planes(data: bytes) -> list[np.ndarray]:
        if id(data) not in known:
            header = read_header(data)
            assert header
            known[id(data)] = (*header, bound._shrink(*header[0])[0]), fitted(*header[0], SIDE)
        how, size = known[id(data)]
        small = read_planes(data, *how)
        assert small
        for plane, canvas in zip((small.y, small.cb, small.cr), canvases, strict=True):
            resize(plane, size, out=_inside(canvas, size))
        return canvases

    def stored(data: bytes) -> bytes:
        y, cb, cr = planes(data)
        return bytes(simplejpeg.encode_jpeg_yuv_planes(y, halve(cb), halve(cr), QUALITY))

    return Contender(each(stored), lambda data: Planes(*planes(data)).rgb(), stored)


def img2dataset() -> Contender:
    """Its resizer with its own defaults; what it stores as PNG are its pixels before the JPEG encoder."""
    import cv2
    from img2dataset.resizer import Resizer

    cv2.setNumThreads(1)

    def prepare(form: str, quality: int) -> Prepare:
        resizer = Resizer(SIDE, "border", False, "lanczos", "area", encode_format=form, encode_quality=quality)
        return lambda data: resizer(io.BytesIO(data))[0]

    stored, lossless = prepare("jpg", QUALITY), prepare("png", 1)
    return Contender(each(stored), lambda data: np.asarray(Image.open(io.BytesIO(lossless(data))).convert("RGB")), stored)


def naive() -> Contender:
    """The script that everybody writes first: OpenCV's aliased resize, a grey canvas."""
    import cv2

    cv2.setNumThreads(1)

    def drawn(data: bytes) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        size = fitted(image.shape[1], image.shape[0], SIDE)
        canvas = np.full((SIDE, SIDE, 3), 114, np.uint8)
        _inside(canvas, size)[:] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        return canvas

    def stored(data: bytes) -> bytes:
        return bytes(cv2.imencode(".jpg", drawn(data), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])

    return Contender(each(stored), lambda data: drawn(data)[..., ::-1], stored)


def pillow() -> Contender:
    """Decoded whole, resized by the bicubic filter, pasted."""
    return _of(_padded, _saved)


def pyvips() -> Contender:
    """`thumbnail_buffer`, which decodes scaled and then resizes by Lanczos, in linear order."""
    import pyvips as vips

    vips.cache_set_max(0)

    def drawn(data: bytes) -> Any:
        image = vips.Image.thumbnail_buffer(data, SIDE, height=SIDE).colourspace("srgb")
        left, top = (SIDE - image.width) // 2, (SIDE - image.height) // 2
        return image.embed(left, top, SIDE, SIDE, extend="background", background=[114] * 3)

    def stored(data: bytes) -> bytes:
        return bytes(drawn(data).jpegsave_buffer(Q=QUALITY))

    return Contender(each(stored), lambda data: drawn(data).numpy(), stored)


def datasets() -> Contender:
    """`Dataset.map` of the Pillow way, from bytes to bytes."""
    import datasets as hub

    hub.disable_progress_bars()
    hub.disable_caching()

    def run(items: Any) -> object:
        table = hub.Dataset.from_dict({"image": list(items)})
        return table.map(lambda row: {"image": _saved(_padded(row["image"]))}, keep_in_memory=True)

    return Contender(run, _padded, lambda data: _saved(_padded(data)))


CONTENDERS: dict[str, tuple[str, Make]] = {
    "Pairloom": ("pairloom", pairloom),
    "limit": ("pairloom", limit),
    "img2dataset": ("images", img2dataset),
    "naive (OpenCV, aliased)": ("images", naive),
    "Pillow": ("images", pillow),
    "pyvips": ("images", pyvips),
    "datasets.map (Pillow)": ("torch", datasets),
}


def compare(data: bytes, pixels: np.ndarray, reference: Callable[[bytes, Size], np.ndarray]) -> tuple[float, float]:
    """PSNR and SSIM of the area of the image, without padding."""
    size = fitted(*Image.open(io.BytesIO(data)).size, SIDE)
    shown, target = _inside(pixels, size), reference(data, size)
    return psnr(shown, target), ssim(shown, target)


def _of(pixels: Callable[[bytes], np.ndarray], encode: Callable[[np.ndarray], bytes]) -> Contender:
    return Contender(each(lambda data: encode(pixels(data))), pixels, lambda data: encode(pixels(data)))


def _inside(canvas: np.ndarray, size: Size) -> np.ndarray:
    """The part of the canvas that the image fills."""
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    return canvas[top : top + size[1], left : left + size[0]]


def _padded(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    size, canvas = fitted(*image.size, SIDE), Image.new("RGB", (SIDE, SIDE), (114, 114, 114))
    canvas.paste(image.resize(size, Image.Resampling.BICUBIC), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(canvas)


def _saved(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
