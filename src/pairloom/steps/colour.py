"""From the colours of a file to sRGB on an opaque background."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from pairloom.batch import Pixels
from pairloom.resize import composite
from pairloom.steps.header import FAULTS

_STRIP = 1 << 20  # pixels turned into RGB at a time


def to_pixels(image: Image.Image | Pixels, profile: bytes | None, background: tuple[int, int, int], shrink: int) -> Pixels:
    """A loaded image, or RGB or RGBA pixels (h, w, 3 or 4), as sRGB pixels, made smaller by `shrink`.

    It is done strip by strip: whole copies would cost 4 bytes a pixel.
    """
    if isinstance(image, np.ndarray) and image.shape[2] == 3 and shrink == 1:
        to_srgb(image, profile)
        return image
    width, height = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
    full = 255.0 if isinstance(image, Image.Image) and image.mode == "F" and image.getextrema()[1] <= 1 else 1.0  # type: ignore[operator]
    rows = max(1, _STRIP // (width * shrink)) * shrink
    pixels = np.empty((-(-height // shrink), -(-width // shrink), 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        if isinstance(image, Image.Image):
            plain = _opaque(_eight_bits(image.crop((0, top, width, bottom)), full), profile, background)
        else:
            plain = _flat(image[top:bottom], profile, background)
        pixels[top // shrink : (top + rows) // shrink] = plain if shrink == 1 else Image.fromarray(plain).reduce(shrink)
    return pixels


def _opaque(image: Image.Image, profile: bytes | None, background: tuple[int, int, int]) -> Pixels:
    """A strip as sRGB on the background."""
    if not image.has_transparency_data:
        return np.asarray(_converted(image, profile))
    colours = "L" if image.mode in ("L", "LA", "La", "1") else "RGB"
    clear = image.convert("RGBA")
    pixels = np.array(clear)
    if profile:
        pixels[..., :3] = np.asarray(_converted(clear.convert(colours), profile))
    return composite(pixels, background)


def _flat(pixels: Pixels, profile: bytes | None, background: tuple[int, int, int]) -> Pixels:
    """RGB or RGBA pixels as sRGB on the background."""
    if profile and _transform(profile, "RGB"):
        pixels, colours = pixels.copy(), np.ascontiguousarray(pixels[..., :3])
        to_srgb(colours, profile)
        pixels[..., :3] = colours
    return pixels if pixels.shape[2] == 3 else composite(pixels, background)


def _eight_bits(image: Image.Image, scale: float) -> Image.Image:
    """16-bit and floating grey as 8-bit grey, with the transparent value that a PNG may name; others as they are."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if image.mode == "F":
        return Image.fromarray((np.nan_to_num(values) * scale).clip(0, 255).astype(np.uint8))
    grey = Image.fromarray(((values.astype(np.int64).clip(0, 65_535) + 128) // 257).astype(np.uint8))
    if isinstance(image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _converted(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image without transparency as sRGB."""
    mode = image.mode if image.mode in ("L", "CMYK") else "RGB"
    transform = _transform(profile, mode) if profile else None
    if transform is None and mode == "L" and profile:
        mode, transform = "RGB", _transform(profile, "RGB")
    image = image if image.mode == mode else image.convert(mode)
    return image.convert("RGB") if transform is None else transform.apply(image)


def is_srgb(profile: bytes | None) -> bool:
    """Whether colours with that profile, or without one, are sRGB, or as good as that."""
    return not profile or _transform(profile, "RGB") is None


def to_srgb(pixels: Pixels, profile: bytes | None) -> None:
    """Change RGB pixels in place from what the profile says to sRGB."""
    transform = _transform(profile, "RGB") if profile else None
    if transform is None:
        return
    rows = max(1, _STRIP // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        pixels[top : top + rows] = np.asarray(transform.apply(Image.fromarray(pixels[top : top + rows])))


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile to sRGB, None where it changes nothing or says nothing: broken, or meant for other colours.

    What a profile does is tried, not read from its name: "linear sRGB" is not sRGB.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != {"L": "GRAY"}.get(mode, mode):
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except FAULTS:
        return None
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(18, -1, 3)).convert(mode)
    change = np.abs(np.asarray(transform.apply(colours)).astype(int) - np.asarray(colours.convert("RGB")))
    return transform if change.max() > 2 else None
