"""The letters that are the classes of `glyphs`, and the twelve typefaces that draw them."""

import pathlib
import unicodedata
from functools import cache

import matplotlib
import numpy as np
from matplotlib import ft2font
from matplotlib.path import Path

# Three families of four faces each: regular, bold, slanted, both. Matplotlib ships all of them.
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
)


def font_path(face: str) -> pathlib.Path:
    """Return the path of the TrueType file of the typeface `face`, which is one of `FACES`."""
    return pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"


@cache
def shared_letters() -> tuple[int, ...]:
    """Return the code points of the 1,511 letters that all twelve typefaces can draw, ascending.

    A letter is a character in one of Unicode's categories that begin with L (Lu, Ll, Lt, Lm, Lo).
    """
    char_maps = (ft2font.FT2Font(str(font_path(face))).get_charmap() for face in FACES)
    shared = set.intersection(*(set(char_map) for char_map in char_maps))
    return tuple(sorted(code for code in shared if unicodedata.category(chr(code)).startswith("L")))


@cache
def distinct_letters() -> tuple[int, ...]:
    """Return the code points of the 1,384 `shared_letters` that differ in shape, ascending.

    Latin A, Greek Alpha and Cyrillic A are three code points, but look the same. So letters are counted as one if their
    outlines in DejaVu Sans are equal point by point, except for the horizontal position. The lowest of their code
    points is used. Outlines in font units do not depend on a rasteriser or its version.
    """
    font = ft2font.FT2Font(str(font_path("DejaVuSans")))
    first_with: dict[bytes, int] = {}
    for code in shared_letters():
        first_with.setdefault(contours(font, code), code)
    return tuple(sorted(first_with.values()))


def contours(font: ft2font.FT2Font, code: int) -> bytes:
    """Return the contours of the letter `code` in units of `font`, the leftmost point at x = 0, as bytes to compare."""
    font.load_char(code, flags=ft2font.LoadFlags.NO_SCALE)
    vertices, path_codes = font.get_path()  # (p, 2) float, (p,) uint8
    drawn = path_codes != Path.CLOSEPOLY  # a closing entry's vertex is a meaningless (0, 0)
    x, y = vertices[drawn].T
    return bytes((x - x.min(initial=np.inf)).tobytes() + y.tobytes() + path_codes.tobytes())
