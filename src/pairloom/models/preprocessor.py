"""Reads a checkpoint's own preprocessing from its files: those of transformers, of open_clip, and our own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

from pairloom.drawing import Interpolation
from pairloom.errors import UsageError
from pairloom.models.settings import read_json
from pairloom.models.transform import ImageTransform, Mode, Size

CLIP_NORMALISER = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF_NORMALISER = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_FILTERS = get_args(Interpolation)  # in the order of Pillow's numbers


def read_transform(folder: Path) -> ImageTransform:
    """The image transform of a checkpoint's folder.

    Reads `preprocessor_config.json`, else the image processor in `processor_config.json`, else `open_clip_config.json`.

    Raises:
        UsageError: if none is there, or one asks for what can't be done here.
    """
    path = next((folder / name for name in _READERS if (folder / name).is_file()), None)
    if path is None:
        raise UsageError(f"{folder} has no {', '.join(_READERS)}, so how it wants its images can't be known")
    try:
        return _READERS[path.name](read_json(path))
    except (ValueError, LookupError, TypeError) as fault:
        raise UsageError(f"{path} can't be used: {fault!r}") from None


def from_preprocessor(config: dict[str, Any]) -> ImageTransform:
    """From `preprocessor_config.json`, as image processors of transformers and their older feature extractors wrote it.

    `resize_mode` is our own addition: `squash`, `shortest` (cut to `size`), `letterbox` (with `fill`: [r, g, b]), or `buckets`
    (with `buckets`: [[width, height], …], and `distortion`, the most that a ratio may change); with it, `rounding` may be `even`.

    Raises:
        ValueError, KeyError: if a part is missing or asks for what can't be done here.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "CLIP")
    siglip = kind.lower().startswith("siglip")
    if not config.get("do_resize", True):
        raise ValueError("do_resize is off: the model would get images of any size")
    mean, std = _normaliser(config, HALF_NORMALISER if siglip else CLIP_NORMALISER)
    naflex = "max_num_patches" in config or kind.startswith("Siglip2")
    filter = _FILTERS[int(config.get("resample", 2 if naflex else 3))]
    if naflex:
        patch, most = int(config.get("patch_size", 16)), int(config.get("max_num_patches", 256))
        side = patch * math.isqrt(most)  # of a square image
        return ImageTransform("naflex", (side, side), (side, side), mean, std, filter, patch=patch, max_patches=most)
    if kind.startswith("Qwen2VL"):
        return _smart(config, mean, std, filter)
    if "resize_mode" in config:
        return _ours(config, mean, std, filter)
    if kind.startswith("LlavaNext"):  # the whole image, as its first view is made; the tiles are cut before, by `anyres`
        view = _pair(config.get("size", 224))
        return ImageTransform("squash", view, view, mean, std, filter)
    mode, resize = _resize(config.get("size", 224), siglip)
    crops = config.get("do_center_crop", not siglip)
    if mode == "shortest" and not crops:
        raise ValueError("size has a shortest_edge and do_center_crop is off: the model would get images of many shapes")
    return ImageTransform(mode, _pair(config.get("crop_size", 224)) if crops else resize, resize, mean, std, filter)


def to_preprocessor(transform: ImageTransform) -> dict[str, Any]:
    """What `from_preprocessor` makes the same transform of; transformers reads it too, where it has such a thing."""
    config: dict[str, Any] = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    config |= {"image_mean": list(transform.mean), "image_std": list(transform.std), "do_convert_rgb": True}
    config["resample"] = _FILTERS.index(transform.interpolation)
    if transform.mode == "naflex":
        sizes = {"patch_size": transform.patch, "max_num_patches": transform.max_patches}
        return {"image_processor_type": "Siglip2ImageProcessor", **config, **sizes}
    if transform.mode == "smart":
        merge = 1 if transform.patch % 2 else 2
        sizes = {"patch_size": transform.patch // merge, "merge_size": merge}
        limits = dict(zip(("min_pixels", "max_pixels"), transform.pixels, strict=True))
        return {"image_processor_type": "Qwen2VLImageProcessor", **config, **sizes, **limits}
    width, height = transform.size
    if transform.mode == "shortest":
        config |= {
            "image_processor_type": "CLIPImageProcessor",
            "do_center_crop": True,
            "crop_size": {"height": height, "width": width},
        }
        config["size"] = {"shortest_edge": min(transform.resize)}
    else:
        config |= {"image_processor_type": "SiglipImageProcessor", "size": {"height": height, "width": width}}
    config |= {"resize_mode": transform.mode, "fill": list(transform.fill), "rounding": transform.rounding}
    if transform.mode == "buckets":
        config["buckets"] = [list(bucket) for bucket in transform.buckets]
        config |= {} if math.isinf(transform.distortion) else {"distortion": transform.distortion}
    return config


def from_open_clip(config: dict[str, Any]) -> ImageTransform:
    """From the `preprocess_cfg` of open_clip: size, mean, std, interpolation, resize_mode, fill_color, or what of it differs.

    Raises:
        ValueError, KeyError: if it asks for what can't be done here.
    """
    size = config.get("size") or 224
    # open_clip writes (height, width), transformers' dictionaries name the sides; a number is both
    size = (int(size), int(size)) if isinstance(size, int) else (int(size[-1]), int(size[-2]))
    modes: dict[str, Mode] = {"shortest": "shortest", "squash": "squash", "longest": "letterbox"}
    mode = modes[config.get("resize_mode") or "shortest"]
    filter: Interpolation = "bilinear" if config.get("interpolation") == "bilinear" else "bicubic"
    mean, std = _three(config.get("mean") or CLIP_NORMALISER[0]), _three(config.get("std") or CLIP_NORMALISER[1])
    level = int(config.get("fill_color") or 0)
    return ImageTransform(mode, size, size, mean, std, filter, (level, level, level), "even")


def _inside(config: dict[str, Any]) -> ImageTransform:
    return from_preprocessor(config["image_processor"])


def _cfg(config: dict[str, Any]) -> ImageTransform:
    return from_open_clip(config["preprocess_cfg"])


_READERS = {
    "preprocessor_config.json": from_preprocessor,
    "processor_config.json": _inside,
    "open_clip_config.json": _cfg,
}


def _ours(config: dict[str, Any], mean: Any, std: Any, filter: Interpolation) -> ImageTransform:
    mode, size = config["resize_mode"], _pair(config.get("crop_size") or config.get("size", 224))
    buckets = tuple(_pair(bucket) for bucket in config.get("buckets", ()))
    if mode not in ("squash", "shortest", "letterbox", "buckets"):
        raise ValueError(f"resize_mode {mode!r} is none of squash, shortest, letterbox, buckets")
    if mode == "buckets" and not buckets:
        raise ValueError("resize_mode is buckets, but there are none")
    red, green, blue = (int(level) for level in config.get("fill", (0, 0, 0)))
    rounding, distortion = config.get("rounding", "down"), float(config.get("distortion", math.inf))
    if rounding not in ("down", "even") or distortion < 1:
        raise ValueError("rounding must be down or even, distortion at least 1")
    return ImageTransform(mode, size, size, mean, std, filter, (red, green, blue), rounding, buckets, distortion=distortion)


def _smart(config: dict[str, Any], mean: Any, std: Any, filter: Interpolation) -> ImageTransform:
    """Qwen's, whose limits stand alone or under `size`; without any they are those of the class."""
    size = config.get("size") or {}
    least = config.get("min_pixels") or size.get("shortest_edge") or 56 * 56
    most = config.get("max_pixels") or size.get("longest_edge") or 28 * 28 * 1280
    factor = int(config.get("patch_size", 14)) * int(config.get("merge_size", 2))
    return smart_transform(factor, (int(least), int(most)), mean, std, filter)


def smart_transform(
    factor: int, pixels: tuple[int, int], mean: Any, std: Any, filter: Interpolation = "bicubic"
) -> ImageTransform:
    """That of `smart_resize`: multiples of `factor`, at least and at most so many pixels."""
    side = math.isqrt(pixels[1]) // factor * factor
    return ImageTransform("smart", (side, side), (side, side), mean, std, filter, patch=factor, pixels=pixels)


def _resize(size: Any, siglip: bool) -> tuple[Mode, Size]:
    if isinstance(size, dict) and "shortest_edge" in size and "longest_edge" not in size:
        return "shortest", _pair(size["shortest_edge"])
    if isinstance(size, dict) and not {"height", "width"} <= set(size):
        raise ValueError(f"size {size} is neither height and width nor a shortest_edge")
    return ("squash" if siglip or isinstance(size, dict) else "shortest"), _pair(size)


def _pair(size: Any) -> Size:
    """(width, height) of a number, a list [width, height] or a dictionary that names the sides."""
    if isinstance(size, dict) and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    if isinstance(size, dict):
        return int(size["width"]), int(size["height"])
    width, height = (size, size) if isinstance(size, int) else size
    return int(width), int(height)


def _normaliser(config: dict[str, Any], default: tuple[Any, Any]) -> tuple[Any, Any]:
    """Mean and deviation for values from 0 to 1, with what the file says of rescaling worked in."""
    mean, std = _three(config.get("image_mean") or default[0]), _three(config.get("image_std") or default[1])
    if not config.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    factor = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    unit = 1.0 if math.isclose(factor, 1 / 255) else factor * 255
    return tuple(one / unit for one in mean), tuple(one / unit for one in std)


def _three(value: Any) -> tuple[float, float, float]:
    one, two, three = (value, value, value) if isinstance(value, int | float) else value
    return float(one), float(two), float(three)
