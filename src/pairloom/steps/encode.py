"""The encoder at the end of the line."""

from __future__ import annotations

import io
from typing import Annotated, ClassVar, Literal

import numpy as np
import simplejpeg
from PIL import Image
from pydantic import Field

from pairloom.batch import Batch
from pairloom.errors import Reject
from pairloom.planes import Ahead, Picture, Planes, rgb
from pairloom.step import Step, lift, step


@step("encode")
class Encode(Step):
    """Encode the pixels once, at the end: `image` holds the new bytes, without any of the original's metadata.

    Example: `encode: {format: webp, quality: 90}`
    """

    format: Literal["jpeg", "webp", "png"] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 95

    reads: ClassVar[tuple[str, ...]] = ("image",)
    reads_pixels: ClassVar[bool] = True

    @property
    def suffix(self) -> str:
        """The file name suffix that readers expect."""
        return "jpg" if self.format == "jpeg" else self.format

    @property
    def takes_planes(self) -> bool:  # type: ignore[override]
        """Only JPEG holds planes."""
        return self.format == "jpeg"

    def image(self, picture: Picture) -> bytes:
        """The encoded file of one image, RGB uint8 (h, w, 3) or planes. Raises `Reject`: not_encodable."""
        if isinstance(picture, Planes) and self.format == "jpeg" and min(picture.shape[:2]) > 1:
            return self._planes(picture.subsampled())
        pixels = rgb(picture)
        try:
            if self.format == "jpeg":
                data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), self.quality, "RGB", "420")
                return data
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, self.format, quality=self.quality)
        except (ValueError, OSError) as fault:  # longer than 65,500 (JPEG) or 16,383 pixels (WebP)
            raise Reject("not_encodable", f"{pixels.shape[1]}x{pixels.shape[0]} as {self.format}: {fault}") from None
        return buffer.getvalue()

    def ahead(self, picture: Picture | Ahead, width: int, height: int, key: str) -> Ahead:
        return Ahead(self._one(picture))

    def _planes(self, picture: Planes) -> bytes:
        height, width = picture.y.shape
        # the encoder reads whole pairs of columns and rows, whatever size the array says it has
        light = picture.y
        if height % 2 or width % 2:
            light = np.empty((height + height % 2, width + width % 2), np.uint8)
            light[:height, :width] = picture.y
            light[:height, width:] = picture.y[:, -1:]
            light[height:] = light[height - 1]
        colours = (np.ascontiguousarray(colour) for colour in (picture.cb, picture.cr))
        try:
            data: bytes = simplejpeg.encode_jpeg_yuv_planes(light[:height, :width], *colours, self.quality)
        except ValueError as fault:
            raise Reject("not_encodable", f"{width}x{height} as jpeg: {fault}") from None
        return data

    def _one(self, picture: Picture | Ahead) -> bytes:
        made = picture.made if isinstance(picture, Ahead) else picture
        return made if isinstance(made, bytes) else self.image(made)

    def __call__(self, batch: Batch) -> Batch:
        assert batch.pictures is not None
        results, rejects = lift(self._one, batch.pictures)
        return batch.with_columns({}, image=results).with_pixels(None).with_rejects(rejects)
