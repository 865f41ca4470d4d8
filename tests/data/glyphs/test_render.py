import numpy as np
import pytest

from mdr_tune.data.glyphs.letters import FACES, distinct_letters
from mdr_tune.data.glyphs.render import CANVAS_SIZE, GlyphRenderer, _inverse_affine

LETTERS = [ord("A"), ord("g"), 0x0416, 0x02B0]


def test_same_bytes_whatever_was_drawn_before() -> None:
    first = {code: GlyphRenderer(5, seed=0).render(code).tobytes() for code in LETTERS}
    renderer = GlyphRenderer(5, seed=0)
    assert {code: renderer.render(code).tobytes() for code in reversed(LETTERS)} == first


def test_image_depends_on_letter_face_and_seed() -> None:
    images = {
        GlyphRenderer(face, seed).render(code).tobytes() for code in LETTERS for face in (0, 8) for seed in (0, 1)
    }
    assert len(images) == len(LETTERS) * 2 * 2


def test_image_shows_light_ink_on_darker_paper() -> None:
    for face in range(len(FACES)):
        image = GlyphRenderer(face, seed=0).render(ord("H")).astype(float)
        assert image.shape == (32, 32)
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert image[8:24, 8:24].mean() > border.mean() + 20


@pytest.mark.parametrize("face", range(len(FACES)))
def test_no_letter_leaves_the_canvas_or_is_blank(face: int) -> None:
    renderer = GlyphRenderer(face, seed=0)
    for code in distinct_letters()[::20]:
        canvas = np.asarray(renderer._draw(code)[0])
        assert canvas.max() == 255
        assert not canvas[[0, -1]].any()
        assert not canvas[:, [0, -1]].any()


def test_inverse_affine_undoes_shear_rotation_zoom_and_shift() -> None:
    angle, zoom, shear, shift_x, shift_y = 0.2, 0.8, 0.1, 3.0, -4.0
    a, b, c, d, e, f = _inverse_affine(angle, zoom, shear, shift_x, shift_y)
    x, y = 10.0, -7.0  # a point of the drawing, from its centre
    sheared_x = x + shear * y
    shown_x = zoom * (np.cos(angle) * sheared_x - np.sin(angle) * y) + 32 + shift_x
    shown_y = zoom * (np.sin(angle) * sheared_x + np.cos(angle) * y) + 32 + shift_y
    assert a * shown_x + b * shown_y + c == pytest.approx(x + CANVAS_SIZE / 2)
    assert d * shown_x + e * shown_y + f == pytest.approx(y + CANVAS_SIZE / 2)
