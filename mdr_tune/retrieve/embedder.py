"""A trained model, and what an image file has to be made into before the model sees it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from mdr_tune.data.augmentations.cropping import center_crop
from mdr_tune.data.images.decoding import decode
from mdr_tune.metric.full_precision import full_float32


@dataclass(frozen=True)
class Embedder:
    """A model that embeds image files as an evaluation embeds them.

    Attributes:
        network: From uint8 images (n, C, H, W) on `device`, any n >= 1, to embeddings (n, D) float32.
        image_shape: (C, H, W) of what the network sees; H = W, and C is 1 (grey) or 3 (RGB).
        size: D.
        resize: Height and width, in pixels, that an image is brought to before the middle is cut out.
        uri: Where the model is found again: a version, never an alias, which may move on.
        identity: Differs between any two models that were ever logged; the same wherever a copy is loaded from.
        run_id: The MLflow run that trained it, if that is known.
        device: What the network computes on.
    """

    network: Callable[[torch.Tensor], torch.Tensor]
    image_shape: tuple[int, int, int]
    size: int
    resize: int
    uri: str
    identity: str
    run_id: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def read(self, path: str | os.PathLike[str]) -> torch.Tensor:
        """Return an image file as the network takes it, (C, H, W) uint8 on the CPU.

        Resized to a square by Lanczos' filter, the middle cut out; converted to grey (ITU-R 601) for a network that
        wants that.

        Raises:
            CorruptImageError: The file is no image, or not a whole one.
            UnreadableFileError: The system does not let it be read.
        """
        channels, height, _ = self.image_shape
        pixels = decode(os.fspath(path), self.resize)  # (resize, resize, 3)
        if channels == 1:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        image = torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))  # Pillow's memory is not to be written
        return center_crop(image[None], height)[0]

    @torch.no_grad()
    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (n, D) float32, on the CPU, of images (n, C, H, W) uint8."""
        with full_float32(self.device.type):
            return self.network(images.to(self.device)).float().cpu()
