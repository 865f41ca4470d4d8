"""The centre crop of images, for evaluations and for training without augmentation."""

import torch


def center_crop(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return the middle of each of `images`, (n, C, H, W), as a view (n, C, size, size).

    The margin at the top (or left) is half of the difference in height (or width). A margin of x.5 pixels is rounded to
    the even number, as in torchvision's `CenterCrop`.

    Raises:
        ValueError: `size` is not positive, or larger than the images.
    """
    height, width = images.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(f"a centre crop of {size} pixels cannot be cut out of images of {height} x {width} pixels")
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[..., top : top + size, left : left + size]
