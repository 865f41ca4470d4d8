"""A trained model, and how image files are prepared for it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from mdr_tune.data.augmentations.cropping import center_crop
from mdr_tune.data.images.decoding import Interpolation, decode
from mdr_tune.metric.full_precision import full_float32


@dataclass(frozen=True)
class Embedder:
    """A model that embeds image files in the same way as an evaluation does.

    Attributes:
        network: Function from uint8 images (n, C, H, W) on `device`, with any n >= 1, to embeddings (n, D) float32.
        image_shape: (C, H, W) of the network's images; H = W, and C is 1 (grey) or 3 (RGB).
        size: Length of an embedding, D.
        resize: Height and width, in pixels, that an image is resized to before its centre crop.
        interpolation: Filter by which it is resized.
        uri: URI to load the model again. It names a version, as an alias may later name another version.
        identity: Text by which models are compared: equal for copies of the same logged model, different otherwise.
        run_id: ID of the MLflow run that trained the model; None if it is not known.
        logged_model: ID of MLflow's logged model; None if MLflow 2 logged it.
        device: Device that the network computes on.
    """

    network: Callable[[torch.Tensor], torch.Tensor]
    image_shape: tuple[int, int, int]
    size: int
    resize: int
    uri: str
    identity: str
    run_id: str | None = None
    logged_model: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    interpolation: Interpolation = "lanczos"

    def read(self, path: str | os.PathLike[str]) -> torch.Tensor:
        """Read the image file at `path` and return it prepared for the network, (C, H, W) uint8 on the CPU.

        The image is resized to a square of `resize` pixels by the filter `interpolation`, and cropped at the centre. If
        C is 1, it is converted to grey (ITU-R 601).

        Raises:
            CorruptImageError: The file is not an image, or not a whole one.
            UnreadableFileError: The operating system refuses to read the file.
        """
        channels, height, _ = self.image_shape
        pixels = decode(os.fspath(path), self.resize, self.interpolation)  # (resize, resize, 3)
        if channels == 1:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        image = torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))  # Pillow's memory is not to be written
        return center_crop(image[None], height)[0]

    @torch.no_grad()
    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (n, D) float32, on the CPU, of uint8 `images` (n, C, H, W)."""
        with full_float32(self.device.type):
            return self.network(images.to(self.device)).float().cpu()
