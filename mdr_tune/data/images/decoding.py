"""Decode an image file to RGB pixels of a given size, as the transform of the authors of MDR does."""

import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from mdr_tune.util.errors import UserError
from mdr_tune.util.files import check_on_disk

Interpolation = Literal["lanczos", "bicubic", "bilinear"]
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


class CorruptImageError(Exception):
    """The file at `path` can be read, but its bytes are not a complete image. `reason` says why in a few words."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} ({reason})")
        self.path, self.reason = path, reason


class UnreadableFileError(UserError):
    """The system cannot read the file at `path`: missing permissions, or a disk or network error."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"data.root: the system could not read {path} ({reason}); try again")


def decode(path: str, size: int, interpolation: Interpolation = "lanczos") -> np.ndarray:
    """Return the image in the file `path`, resized to a square by the filter: (size, size, 3) uint8, RGB.

    The pixels are those of torchvision's `default_loader` followed by `Resize((size, size), interpolation)`. The filter
    in `build_transform` of the authors' code for Kim & Park, AAAI 2021, is Lanczos'. The aspect ratio is not kept,
    transparency is dropped, and an orientation in the EXIF data is not applied. If there are several frames, the first
    is used.

    Two things differ from torchvision. Images with 32-bit pixels are refused. 16-bit grey values are reduced to their
    high byte, as Pillow does with 16-bit colours; Pillow's conversion would turn all grey values above 255 into 255.

    Raises:
        CorruptImageError: the file is empty, truncated or no image, has 32-bit pixels, or is too large for Pillow.
        UnreadableFileError: the system cannot read the file. This is a UserError.
    """
    try:
        check_on_disk(path)
        content = Path(path).read_bytes()
    except OSError as error:
        raise UnreadableFileError(path, (error.strerror or str(error)).lower()) from error
    if not content:
        raise CorruptImageError(path, "empty file")
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(_rgb(image).resize((size, size), Image.Resampling[interpolation.upper()]))
    except UnidentifiedImageError as error:
        raise CorruptImageError(path, "not an image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise CorruptImageError(path, f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise all kinds: OSError, SyntaxError, struct.error
        raise CorruptImageError(path, _reason(error)) from error


def _rgb(image: Image.Image) -> Image.Image:
    # Up to Pillow 11 a 16-bit PNG has mode I, with values up to 65535; a 16-bit PPM still has it in later versions.
    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}), whose range is not known")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "truncated" if "truncated" in text.lower() else text
