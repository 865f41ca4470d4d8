"""JPEG files as a data set has them, made out of the photo that comes with matplotlib."""

from pathlib import Path

import numpy as np
from matplotlib import cbook
from PIL import Image

WIDTH, HEIGHT = 500, 375  # pixels, the commonest size in CUB-200-2011
# With these the files have 97 kB in the mean, as those of CUB-200-2011 (1.15 GB of 11,788 images).
QUALITY = 95
NOISE_STD = 5.0  # grey values, as of a small camera; the photo was made smaller, and has none left


def write_photos(folder: Path, count: int) -> list[str]:
    """Write `count` different parts of the photo as JPEGs of 500 x 375; returns their names."""
    generator = np.random.default_rng(0)
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as file:
        photo = file.convert("RGB")
    names = [f"{number:05d}.jpg" for number in range(count)]
    for name in names:
        width = generator.uniform(300, 500)
        height = width * HEIGHT / WIDTH
        left, top = generator.uniform((0, 0), (photo.width - width, photo.height - height))
        box = (left, top, left + width, top + height)
        part = photo.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box)
        noisy = np.asarray(part) + generator.normal(0, NOISE_STD, (HEIGHT, WIDTH, 1))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name, quality=QUALITY)
    return names
