"""Draw a letter in one typeface as a small, slanted, noisy grey image."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mdr_tune.data.glyphs.letters import FACES, font_path

IMAGE_SIZE = 32  # pixels, both ways
OVERSAMPLING = 2  # the letter is drawn and moved at twice the size, then averaged down
FONT_SIZE = 64  # pixels per em of the drawing
CANVAS_SIZE = 128  # pixels; the widest letter fits

# A letter whose longer side is x em is drawn 64 * x pixels long. In the image, half of its difference from TYPICAL_SIDE
# (on a log scale) is removed: small letters stay smaller, but keep enough pixels to be read.
TYPICAL_SIDE = 48.0  # pixels of the drawing; about the height of a capital
SHOWN_SIDE = 21.0  # pixels of the image; the size at which TYPICAL_SIDE is shown
MAX_SHOWN_SIDE = 26.0  # pixels of the image; the largest size of any letter, before the random scaling

MAX_ROTATION_RAD = math.radians(15)
MAX_LOG_SCALE = math.log(1.15)
MAX_SHEAR = 0.2
MAX_SHIFT = 2.5  # pixels of the image
PAPER_RANGE = (0.0, 90.0)  # grey value of the background
CONTRAST_RANGE = (70.0, 165.0)  # grey values added where there is ink
NOISE_STD_RANGE = (5.0, 25.0)  # standard deviation of the noise, in grey values


def parameters() -> dict[str, object]:
    """Return this module's public constants, by name. The images and the name of their file depend on them."""
    return {name: value for name, value in sorted(globals().items()) if name.isupper() and name[0] != "_"}


class GlyphRenderer:
    """Draws letters in the typeface with the index `face` in `FACES`. `seed` is the data set's seed, not a trial's."""

    def __init__(self, face: int, seed: int) -> None:
        self.face = face
        self.seed = seed
        # The basic layout engine: the other one, Raqm, is not in every build of Pillow.
        self._font = ImageFont.truetype(str(font_path(FACES[face])), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)

    def render(self, code: int) -> np.ndarray:
        """Return a noisy image of the letter with the code point `code`, light ink on darker paper: (32, 32) uint8.

        All random numbers come from `np.random.default_rng([seed, code, face])`, so images do not depend on each other.
        """
        generator = np.random.default_rng([self.seed, code, self.face])
        angle, log_scale, shear, shift_x, shift_y, paper, contrast, noise_std = generator.uniform(*_UNIFORM_BOUNDS)
        drawing, side = self._draw(code)
        shown = min(SHOWN_SIDE * math.sqrt(side / TYPICAL_SIDE), MAX_SHOWN_SIDE)
        zoom = math.exp(log_scale) * OVERSAMPLING * shown / side
        moved = drawing.transform(
            (IMAGE_SIZE * OVERSAMPLING, IMAGE_SIZE * OVERSAMPLING),
            Image.Transform.AFFINE,
            _inverse_affine(angle, zoom, shear, shift_x * OVERSAMPLING, shift_y * OVERSAMPLING),
            Image.Resampling.BILINEAR,
        )
        ink = np.asarray(moved.reduce(OVERSAMPLING), dtype=np.float32) / 255  # (32, 32), 1 is ink
        noise = generator.standard_normal(ink.shape, dtype=np.float32)
        grey = paper + contrast * ink + noise_std * noise
        image: np.ndarray = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        return image

    def _draw(self, code: int) -> tuple[Image.Image, int]:
        """Return a drawing with the letter `code` in its centre, and the longer side of the letter in pixels."""
        left, top, right, bottom = self._font.getbbox(chr(code))
        canvas = Image.new("L", (CANVAS_SIZE, CANVAS_SIZE))
        origin = ((CANVAS_SIZE - left - right) / 2, (CANVAS_SIZE - top - bottom) / 2)
        ImageDraw.Draw(canvas).text(origin, chr(code), fill=255, font=self._font)
        return canvas, int(max(right - left, bottom - top, 1))


# Low and high ends of the random numbers of `render`: angle, log scale, shear, two shifts, paper, contrast, noise.
_SYMMETRIC = (MAX_ROTATION_RAD, MAX_LOG_SCALE, MAX_SHEAR, MAX_SHIFT, MAX_SHIFT)
_UNIFORM_BOUNDS = tuple(
    zip(*((-high, high) for high in _SYMMETRIC), PAPER_RANGE, CONTRAST_RANGE, NOISE_STD_RANGE, strict=True)
)


def _inverse_affine(
    angle: float, zoom: float, shear: float, shift_x: float, shift_y: float
) -> tuple[float, float, float, float, float, float]:
    """Return the coefficients (a, b, c, d, e, f) of an affine transformation, as Pillow's `transform` takes them.

    The transformation shears the drawing by `shear`, rotates it by `angle` (radians) and enlarges it by `zoom` about
    its centre, puts this point at the centre of the result, and shifts it by `shift_x` and `shift_y` pixels. Pillow
    needs the inverse: the pixel (x, y) of the result shows the point (a x + b y + c, d x + e y + f) of the drawing.
    """
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    a, b = cos - shear * -sin, sin - shear * cos
    d, e = -sin, cos
    centre_x = centre_y = IMAGE_SIZE * OVERSAMPLING / 2
    c = CANVAS_SIZE / 2 - a * (centre_x + shift_x) - b * (centre_y + shift_y)
    f = CANVAS_SIZE / 2 - d * (centre_x + shift_x) - e * (centre_y + shift_y)
    return a, b, c, d, e, f
