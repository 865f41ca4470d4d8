"""Which images a model is fed: those that it was made for, unless the user says otherwise."""

import pytest

from mdr_tune.backbones.families import family_of
from mdr_tune.config.datasets import read_data
from mdr_tune.evaluate.feeding import Feeding, feed, keys_of
from mdr_tune.util.errors import UserError

TRAINED = Feeding({"resize": 80, "image_size": 64}, (3, 64, 64))
BACKBONE = Feeding({"resize": 236, "image_size": 224}, is_fixed=False)


@pytest.mark.parametrize(
    ("feeding", "given", "fed"),
    [
        (TRAINED, {}, (80, 64)),
        (TRAINED, {"image_size": 64}, (80, 64)),
        (TRAINED, {"image_size": 64, "resize": "auto"}, None),  # 73, and not the 80 of the training
        (TRAINED, {"image_size": 96}, None),
        (BACKBONE, {}, (236, 224)),
        (BACKBONE, {"image_size": 96}, (110, 96)),  # the usual ratio to it
        (BACKBONE, {"resize": 96}, (96, 84)),
        (Feeding({}, is_fixed=False), {}, (256, 224)),
    ],
)
def test_sizes(feeding: Feeding, given: dict[str, object], fed: tuple[int, int] | None) -> None:
    data = read_data("folder", root="/photos", recall_at=[3], **given)
    if fed is None:
        with pytest.raises(UserError, match=r"^m: was made for images with .* leave out data\.(resize|image_size)"):
            feed(data, feeding, "m")
        return
    found = feed(data, feeding, "m")
    assert (found.chosen_resize, found.chosen_image_size) == fed
    assert (found.recall_ks, found.measured_on()) == (data.recall_ks, data.measured_on())


def test_images_of_one_size_are_fed_as_they_are() -> None:
    glyphs = read_data("glyphs")
    assert feed(glyphs, Feeding({"resize": 32, "image_size": 32}, (1, 32, 32)), "m") is glyphs
    assert keys_of(glyphs) == {}
    with pytest.raises(UserError, match=r"^m: takes RGB images of 64 x 64 pixels, and glyphs has grey images of 32"):
        feed(glyphs, TRAINED, "m")
    with pytest.raises(UserError, match=r"^m: takes vectors of 9 numbers, and glyphs has grey images"):
        feed(glyphs, Feeding({}, (1, 1, 9)), "m")


def test_a_model_of_timm_says_its_size_and_its_share_of_the_image() -> None:
    name = "timm.vit_small_patch14_dinov2.lvd142m"
    found = family_of(name).own_images(name, {})
    assert (found["image_size"], found["resize"]) == (518, 518)
