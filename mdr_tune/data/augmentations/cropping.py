"""The centre crop of images, for evaluations and for training without augmentation."""

import torch


def center_crop(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return a view of the middle of each image, size x size pixels.

    If the margins on two sides cannot be equal, the crop lies where torchvision's `CenterCrop` puts it: the margin at
    the top or left is half of the difference in size, rounded to a whole pixel. A margin of x.5 pixels is rounded to
    the even number.

    Args:
        images: (n, C, H, W).
        size: height and width of the crop in pixels.

    Returns:
        (n, C, size, size), sharing the memory of `images`.

    Raises:
        ValueError: `size` is not positive, or larger than the images.
    """
    height, width = images.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(f"a centre crop of {size} pixels cannot be cut out of images of {height} x {width} pixels")
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[..., top : top + size, left : left + size]
