import pytest
import torch
from torchvision.transforms import CenterCrop

from mdr_tune.data.augmentations.cropping import center_crop


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(256, 256, 224), (256, 256, 227), (32, 32, 32), (7, 9, 1), (8, 8, 5), (10, 7, 5), (9, 12, 5), (13, 8, 6)],
)
def test_the_middle_is_where_torchvision_puts_it(height: int, width: int, size: int) -> None:
    images = torch.arange(2 * 3 * height * width).reshape(2, 3, height, width)
    assert torch.equal(center_crop(images, size), CenterCrop(size)(images))


def test_it_is_a_view() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    center_crop(images, 4).fill_(1)
    assert images.sum() == 2 * 3 * 4 * 4


@pytest.mark.parametrize("size", [0, -1, 8, 9])
def test_what_cannot_be_cut_out_is_an_error(size: int) -> None:
    with pytest.raises(ValueError, match=f"crop of {size} pixels cannot be cut out of images of 9 x 7 pixels"):
        center_crop(torch.zeros(1, 3, 9, 7), size)
